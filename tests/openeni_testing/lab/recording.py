"""A progress that records its calls, and programs written by tests."""

import tempfile
from pathlib import Path


class RecordedProgress:
    """A progress that records its calls."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.notes: list[str] = []
        self.ended = 0

    def start(self, name: str, expected_seconds: float) -> None:
        assert expected_seconds > 0
        self.started.append(name)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def done(self, *, changed: bool = True) -> None:
        assert changed
        self.ended += 1

    def second_lane(self) -> "RecordedProgress":
        return self


def executable(path: Path, text: str) -> Path:
    """Write a program, such as a script in place of a tool."""
    assert path.is_relative_to(tempfile.gettempdir()), f"{path} may be the machine's own"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path
