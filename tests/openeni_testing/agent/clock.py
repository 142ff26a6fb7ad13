"""A clock that a test sets, in place of `time` in modules of the agent."""

from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest


@dataclass
class Clock:
    """The modules' `time.monotonic()`, in seconds."""

    now: float = 1000.0

    @classmethod
    def of(cls, monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> "Clock":
        """Return the clock that the modules have until the end of the test."""
        clock = cls()
        for module in modules:
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
        return clock
