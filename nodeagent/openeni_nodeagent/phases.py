"""Measure how long each phase of a CNI call takes; `openeni phases` prints the last calls."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec

KEPT: Final = 2048


class Stopwatch:
    """Measures one call: seconds by phase, in the order in which the phases began."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.seconds: dict[str, float] = {}

    def since_start(self, name: str) -> None:
        """Have a phase from the start until now."""
        self.seconds[name] = time.monotonic() - self.start

    def phase(self, name: str) -> "_Phase":
        """Add the time of a block to the phase of this name."""
        return _Phase(self.seconds, name)

    def include(self, seconds: Mapping[str, float]) -> None:
        """Add phases that another stopwatch measured."""
        for name, value in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + value

    def finish(self) -> Mapping[str, float]:
        """Return all phases, "total", and as "other" what no phase covers."""
        total = time.monotonic() - self.start
        return self.seconds | {"other": total - sum(self.seconds.values()), "total": total}


class _Phase:
    """A context manager; one of contextlib's takes three times as long."""

    __slots__ = ("_begun", "_name", "_seconds")

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds = seconds
        self._name = name

    def __enter__(self) -> None:
        self._begun = time.monotonic()

    def __exit__(self, *_: object) -> None:
        spent = time.monotonic() - self._begun
        self._seconds[self._name] = self._seconds.get(self._name, 0.0) + spent


class PhaseHistory:
    """Keeps the phases of the last calls. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, deque[Mapping[str, float]]] = {}

    def add(self, command: str, seconds: Mapping[str, float]) -> None:
        with self._lock:
            self._calls.setdefault(command, deque(maxlen=KEPT)).append(seconds)

    def encode(self) -> bytes:
        """Return all that is kept as JSON: command -> calls, oldest first -> phase -> seconds."""
        with self._lock:
            return msgspec.json.encode({name: list(kept) for name, kept in self._calls.items()})
