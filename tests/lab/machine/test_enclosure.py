"""Labs of one process beside each other."""

from pathlib import Path

import pytest

from openeni_testing.lab.bare_lab import bare_lab

pytestmark = pytest.mark.root


def test_a_lab_of_the_same_kind_survives_the_removal_of_another(tmp_path: Path) -> None:
    with bare_lab(tmp_path / "one") as (_, kept):
        with bare_lab(tmp_path / "other"):
            pass
        assert kept.alive()
