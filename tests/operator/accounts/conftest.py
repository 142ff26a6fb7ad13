"""Three entries: two lead to one account, in two projects."""

from pathlib import Path

import pytest

from openeni_testing.cloud.accounts import Accounts, entry, write


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    made = Accounts(tmp_path / "clouds.yaml")
    write(made.file, one=entry(), two=entry(project_name="q"), other=entry(username="v"))
    return made
