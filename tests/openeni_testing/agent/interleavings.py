"""Every interleaving of some tasks, up to a number of preemptions, and a crash at every point.

The tasks are threads of real code, of which one runs at a time. At each `point` the one that runs
may be preempted: a schedule says whom to let go on, and `explore` runs every schedule with few
enough preemptions (Musuvathi and Qadeer, "Iterative context bounding for systematic testing of
multithreaded programs", 2007).
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Schedule: TypeAlias = tuple[int, ...]  # the task that goes on, at each decision
HANG_SECONDS: Final = 60


class CrashedError(BaseException):
    """The process ends here; nothing may catch it."""


@dataclass
class _Task:
    name: str
    work: Callable[[], None]
    go_on: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ready: Callable[[], bool] = lambda: True
    done: bool = False
    error: BaseException | None = None


@dataclass(frozen=True)
class Decision:
    """Who could have gone on, who did, and who had before."""

    enabled: tuple[int, ...]
    chosen: int
    before: int | None

    def preempts(self, task: int) -> bool:
        return self.before in self.enabled and task != self.before


class Interleaving:
    """One run of tasks under a schedule; the decisions after its end preempt nobody."""

    def __init__(self, schedule: Schedule = (), crash_after: int | None = None) -> None:
        self.decisions: list[Decision] = []
        self._schedule, self._crash_after = schedule, crash_after
        self._tasks: list[_Task] = []
        self._by_thread: dict[int, _Task] = {}
        self._yielded = threading.Semaphore(0)
        self._crashed = False

    def point(self, ready: Callable[[], bool] = lambda: True) -> None:
        """Let others go on, and come back when `ready`; outside a task nothing happens."""
        task = self._by_thread.get(threading.get_ident())
        if task is None:
            return
        task.ready = ready
        self._yielded.release()
        self._await_turn(task)

    def run(self, tasks: Sequence[tuple[str, Callable[[], None]]]) -> bool:
        """Run the tasks to their end, or to the crash; return True if they all ended."""
        self._tasks = [_Task(name, work) for name, work in tasks]
        threads = [threading.Thread(target=self._live, args=(task,)) for task in self._tasks]
        for thread in threads:
            thread.start()
            self._await_yield()
        while any(not task.done for task in self._tasks):
            if self._crash_after == len(self.decisions):
                self._crash()
                break
            self._let_go_on(self._choose())
        for thread in threads:
            thread.join(HANG_SECONDS)
        for task in self._tasks:
            if task.error is not None and not isinstance(task.error, CrashedError):
                raise task.error
        return not self._crashed

    def schedule(self) -> Schedule:
        return tuple(decision.chosen for decision in self.decisions)

    def __str__(self) -> str:
        return " ".join(self._tasks[d.chosen].name for d in self.decisions)

    def _choose(self) -> _Task:
        enabled = tuple(n for n, t in enumerate(self._tasks) if not t.done and t.ready())
        assert enabled, f"deadlock after {self}"
        number = len(self.decisions)
        before = self.decisions[-1].chosen if self.decisions else None
        if number < len(self._schedule):
            chosen = self._schedule[number]
        else:
            chosen = before if before in enabled else enabled[0]
        assert chosen in enabled, (
            f"{chosen} cannot go on after {self}: the tasks are not repeatable"
        )
        self.decisions.append(Decision(enabled, chosen, before))
        return self._tasks[chosen]

    def _let_go_on(self, task: _Task) -> None:
        task.go_on.release()
        self._await_yield()

    def _crash(self) -> None:
        self._crashed = True
        for task in self._tasks:
            while not task.done:
                self._let_go_on(task)

    def _await_yield(self) -> None:
        assert self._yielded.acquire(timeout=HANG_SECONDS), f"a task hangs after {self}"

    def _await_turn(self, task: _Task) -> None:
        assert task.go_on.acquire(timeout=HANG_SECONDS)
        if self._crashed:
            raise CrashedError

    def _live(self, task: _Task) -> None:
        self._by_thread[threading.get_ident()] = task
        self._yielded.release()
        try:
            self._await_turn(task)
            task.work()
        except BaseException as error:  # noqa: BLE001 the run raises it
            task.error = error
        finally:
            task.done = True
            self._yielded.release()


def explore(
    run: Callable[[Schedule], Sequence[Decision]], preemptions: int
) -> Iterator[Sequence[Decision]]:
    """Run every schedule with at most so many preemptions; `run` returns its decisions."""
    waiting: list[tuple[Schedule, int]] = [((), 0)]
    while waiting:
        prefix, used = waiting.pop()
        decisions = run(prefix)
        yield decisions
        chosen = tuple(decision.chosen for decision in decisions)
        for number in range(len(prefix), len(decisions)):
            decision = decisions[number]
            for other in decision.enabled:
                cost = used + decision.preempts(other)
                if other != decision.chosen and cost <= preemptions:
                    waiting.append(((*chosen[:number], other), cost))
