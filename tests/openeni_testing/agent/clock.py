"""A clock that a test sets, in place of `time` in a module of the agent."""

from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest


@dataclass
class Clock:
    """The module's `time.monotonic()`, in seconds."""

    now: float = 1000.0

    @classmethod
    def of(cls, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> "Clock":
        """Return the clock that the module has until the end of the test."""
        clock = cls()
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
        return clock
