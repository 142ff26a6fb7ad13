"""Fixtures of several modules of attachments."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The queue of DELs, without any."""
    made = tmp_path / "queue"
    made.mkdir()
    return made
