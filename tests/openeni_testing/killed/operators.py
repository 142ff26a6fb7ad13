"""Operators as processes that a test kills, stops and wakes."""

import itertools
import random
from pathlib import Path

from openeni_testing.killed.fast_time import FastTime
from openeni_testing.nursery import Child, Nursery


class Operators(Nursery):
    """Starts operators on the store and the clouds of a folder; any thread may.

    They wait `timeout` seconds, of the real clock, for the answer to a call of a cloud.
    """

    def __init__(self, folder: Path, time: FastTime, timeout: float = 60) -> None:
        super().__init__(
            "openeni_testing.killed.nursery",
            *(folder, time.factor, time.origin, timeout),
            log=folder / "log",
        )
        self._folder = folder

    def fence(self, name: str) -> list[tuple[float, bool]]:
        """Return when an operator asked whether it may write to a cloud, and the answers."""
        lines = (self._folder / f"{name}.fence").read_text().splitlines()
        return [(float(at), answer == "True") for at, answer in map(str.split, lines)]


class Replicas:
    """As many operators as a Deployment has: one that ends is started again.

    It has the same name if its kubelet restarts its container, and another if its pod is replaced.
    """

    def __init__(self, operators: Operators, count: int, dice: random.Random) -> None:
        self._operators, self._dice, self._count = operators, dice, count
        self._numbers = itertools.count()
        self._running: dict[str, Child] = {}
        for _ in range(count):
            self._start_new()

    def kill_one(self) -> None:
        """Kill any of them, whether it leads or not, and start it again."""
        self.restart_ended()
        name = self._dice.choice(sorted(self._running))
        self._running.pop(name).kill()
        if self._count > 1 and self._dice.random() < 0.5:
            self._start_new()
        else:
            self._running[name] = self._operators.start(name)

    def restart_ended(self) -> None:
        """Start those again that have ended, as only one that has lost the Lease may."""
        for name, process in self._running.items():
            if not process.runs():
                assert (process.wait(), self._count > 1) == (1, True), self._operators.log()
                self._running[name] = self._operators.start(name)

    def kill_all(self) -> None:
        self.restart_ended()
        for process in self._running.values():
            process.kill()

    def _start_new(self) -> None:
        name = f"operator-{next(self._numbers)}"
        self._running[name] = self._operators.start(name)
