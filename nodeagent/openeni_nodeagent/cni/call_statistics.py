"""Count CNI calls: how long each phase took, and which errors were answered.

A call is counted after its answer has been sent, in a few microseconds: plain numbers under a lock,
from which metrics are made when somebody asks for them.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from openeni_nodeagent.cni.call import EndedCall
from openeni_nodeagent.cni.protocol import Command

BY_PHASE: Final = frozenset({Command.ADD, Command.DEL})  # the total of others suffices
INVALID: Final = "Invalid"  # a command that is none of CNI's
_COMMANDS: Final = frozenset(Command)
_TOTAL: Final = "total"


@dataclass
class Durations:
    """Durations of one phase, by bucket, the last without bound; and their sum in seconds."""

    counts: list[int]
    sum: float = 0.0


class CallStatistics:
    """Safe for several threads."""

    def __init__(self, bounds: Iterable[float]) -> None:
        """Count durations up to each of `bounds`, in seconds."""
        self._bounds = tuple(bounds)
        self._lock = threading.Lock()
        self._durations: dict[tuple[str, str], Durations] = {}
        self._errors: Counter[tuple[str, int]] = Counter()

    def count(self, call: EndedCall) -> None:
        """Count a call by its phases, or by its error."""
        command = call.command if call.command in _COMMANDS else INVALID
        if call.error is not None:
            with self._lock:
                self._errors[command, int(call.error.code)] += 1
            return
        phases = call.seconds if command in BY_PHASE else {_TOTAL: call.seconds[_TOTAL]}
        bounds, durations = self._bounds, self._durations
        with self._lock:
            for phase, value in phases.items():
                found = durations.get((command, phase))
                if found is None:
                    found = durations[command, phase] = Durations([0] * (len(bounds) + 1))
                found.counts[bisect_left(bounds, value)] += 1
                found.sum += value

    def durations(self) -> dict[tuple[str, str], Durations]:
        """Return a copy, by command and phase."""
        with self._lock:
            return {key: Durations([*d.counts], d.sum) for key, d in self._durations.items()}

    def errors(self) -> dict[tuple[str, int], int]:
        """Return how many calls have failed, by command and code."""
        with self._lock:
            return dict(self._errors)
