"""The lab that the system tests of a worker share.

A test that makes another one takes it down before: memory is dear.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from openeni_lab.lab import Lab, NodeKind
from openeni_lab.layout import ROOT, Layout
from openeni_lab.product import installed_lab
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.progress import LogProgress
from openeni_testing.lab.tracked_objects import TrackedObjects

PREFIX = "system"
LONGEST_PREFIX = 8  # a lab's name has up to 16 characters, a process id up to 7


def own_name(prefix: str) -> str:
    """Return a lab's name that is unique to this process, for parallel test runs on a machine."""
    assert len(prefix) <= LONGEST_PREFIX, prefix
    return f"{prefix}-{os.getpid()}"


def remove_abandoned(prefix: str) -> None:
    """Take down the labs of killed test runs."""
    for state in ROOT.glob(f"{prefix}-*"):
        number = state.name.removeprefix(f"{prefix}-")
        if number.isdecimal() and not Path(f"/proc/{number}").exists():
            Lab(Layout(state.name)).down()


class SharedLab:
    """A lab with openeni that tests share; it is clean when a test begins.

    With a name in `kept`, that lab may exist before, and it stays afterwards.
    """

    def __init__(self, kept: str = "") -> None:
        self._stays = bool(kept)
        self._lab = Lab(Layout(kept or own_name(PREFIX)), NodeKind.NAMESPACE)
        self._installed: InstalledLab | None = None
        self._objects: TrackedObjects | None = None
        self.kept: set[str] = set()  # names of objects that other tests use as well
        self.expected_exits: set[str] = set()  # ids of exits that a test has caused

    @contextmanager
    def test(self) -> Generator[InstalledLab]:
        """Lend the lab to a test, and clean it afterwards.

        Raises AssertionError on an unexpected exit of a program, or if an object of the test cannot
        be removed: then the next test gets a new lab.
        """
        installed = self._up()
        before = installed.exits_so_far()
        yield installed
        try:
            self.clean()
        finally:
            exits = installed.unexpected_exits(before | self.expected_exits)
            assert not exits, f"unexpected exits: {'; '.join(exits)}"

    def clean(self) -> None:
        """Remove the tests' objects, except the names in `kept`."""
        if self._objects is None:
            return
        objects, self._objects = self._objects, None
        objects.remove_made(self.kept)
        self._objects = objects

    def make_way(self) -> None:
        """Take the lab down for a test that starts another one."""
        self._installed = self._objects = None
        self.kept.clear()
        self._lab.down()

    @contextmanager
    def removed_on_failure(self) -> Generator[None]:
        """Take the lab down if the block fails: nobody knows what the next test would meet."""
        try:
            yield
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Take the lab down after the last test, unless it is kept."""
        if not self._stays:
            self.make_way()

    def _up(self) -> InstalledLab:
        """Bring the lab up; use a new one if the last test could not be cleaned up."""
        if self._installed is not None and self._objects is None:
            self.make_way()
        if self._installed is None:
            remove_abandoned(PREFIX)
            with self.removed_on_failure():
                self._installed = installed_lab.up(self._lab, LogProgress())
            self._objects = TrackedObjects(self._installed)
        return self._installed
