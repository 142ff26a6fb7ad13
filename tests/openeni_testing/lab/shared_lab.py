"""The whole lab of the system tests: one at a time, as each takes gigabytes of memory."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from openeni_lab.lab import Lab, NodeKind
from openeni_lab.layout import ROOT, Layout
from openeni_lab.machine import service
from openeni_lab.product import installed_lab
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.progress import LogProgress
from openeni_testing.lab.made_objects import MadeObjects

PREFIX = "system"


def own_name(prefix: str) -> str:
    """Return a name for a lab of this process: two test runs on a machine do not meet."""
    return f"{prefix}-{os.getpid()}"


def remove_abandoned(prefix: str) -> None:
    """Take down what test runs that were killed have left."""
    for state in ROOT.glob(f"{prefix}-*"):
        number = state.name.removeprefix(f"{prefix}-")
        if number.isdecimal() and not Path(f"/proc/{number}").exists():
            Lab(Layout(state.name)).down()


class SharedLab:
    """A lab with openeni in it that tests share, and that is clean when a test begins.

    With a name in `kept` the lab is there before and stays afterwards.
    """

    def __init__(self, kept: str = "") -> None:
        self._stays = bool(kept)
        self._lab = Lab(Layout(kept or own_name(PREFIX)), NodeKind.NAMESPACE)
        self._running: InstalledLab | None = None
        self._objects: MadeObjects | None = None
        self.kept: set[str] = set()  # names of objects that other tests use as well
        self.expected_ends: set[str] = set()  # ids of ends that a test has caused

    @contextmanager
    def test(self) -> Generator[InstalledLab]:
        """Give the lab to a test, and clean it afterwards.

        Raises AssertionError when a program ended that the test has not killed, or when something
        that the test made cannot be removed: then the next test gets a new lab.
        """
        installed = self._up()
        before = service.exits_so_far(installed.lab.machines)
        yield installed
        try:
            self.clean()
        finally:
            ended = service.unexpected_exits(installed.lab.machines, before | self.expected_ends)
            assert not ended, f"ended by itself: {'; '.join(ended)}"

    def clean(self) -> None:
        """Remove what tests made, but for the names in `kept`."""
        if self._objects is None:
            return
        objects, self._objects = self._objects, None
        objects.remove_made(self.kept)
        self._objects = objects

    def make_way(self) -> None:
        """Take the lab down: another one is about to come up."""
        self._running = self._objects = None
        self.kept.clear()
        self._lab.down()

    def end(self) -> None:
        """The tests are over."""
        if not self._stays:
            self.make_way()

    def _up(self) -> InstalledLab:
        """Bring the lab up, anew where the last test could not be cleaned up after."""
        if self._running is not None and self._objects is None:
            self.make_way()
        if self._running is None:
            remove_abandoned(PREFIX)
            self._running = installed_lab.up(self._lab, LogProgress())
            self._objects = MadeObjects(self._running)
        return self._running
