"""Daemon threads that run tasks: started as they are needed, kept, and bounded in number.

Few tasks begin at once: the next one begins when one has ended, or has run so long that it must be
waiting for something. A hundred threads that all have work to do only keep each other from it: they
wait for the interpreter, and those in the kernel for its locks.

Unlike `concurrent.futures` it never keeps the process from ending for a task that hangs, and a
thread that cannot be started costs no task as long as there is another one.
"""

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

Task: TypeAlias = Callable[[], None]
_log: Final = logging.getLogger(__name__)


class ThreadPool:
    """Tasks are begun in the order of their submission."""

    def __init__(self, name: str, most: int, at_once: int, young_seconds: float) -> None:
        """Run up to `most` tasks, of which `at_once` have run for less than `young_seconds`."""
        self._name = name
        self._most = most
        self._at_once = at_once
        self.young_seconds = young_seconds
        lock = threading.Lock()
        self._may_begin = threading.Condition(lock)
        self._must_wait = threading.Condition(lock)
        self._tasks: deque[Task] = deque()
        self._young: dict[threading.Thread, float] = {}  # since when; the oldest first
        self._threads: list[threading.Thread] = []
        self._starting = 0
        self._idle = 0
        self._has_timer = False
        self._stopping = False
        self._ageing = threading.Thread(target=self._age, name=f"{name}-ageing", daemon=True)

    def start(self) -> None:
        self._ageing.start()

    def submit(self, task: Task) -> None:
        """Run the task as soon as it may begin and there is a thread for it.

        Raises RuntimeError or MemoryError if there is no thread and none can be started.
        """
        with self._may_begin:
            self._tasks.append(task)
            try:
                self._wake()
            except (RuntimeError, MemoryError):
                self._tasks.remove(task)
                raise

    def busy(self) -> bool:
        """Return True if a task waits to begin, or one that has begun lately has not ended."""
        with self._may_begin:
            newest = next(reversed(self._young.values()), -math.inf)
            return bool(self._tasks) or time.monotonic() - newest < self.young_seconds

    def stop(self, seconds: float) -> int:
        """Wait up to `seconds` until every task has ended; return how many threads still run."""
        with self._may_begin:
            self._stopping = True
            self._may_begin.notify_all()
            self._must_wait.notify()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return sum(thread.is_alive() for thread in self._threads)

    def _is_full(self) -> bool:
        return len(self._young) + self._starting >= self._at_once

    def _wake(self) -> None:
        """Have a thread begin a task, now or when one may begin. The caller has the lock."""
        if not self._tasks:
            return
        if not self._is_full():
            if self._idle:
                self._may_begin.notify()
                return
            if len(self._threads) < self._most and self._start_thread():
                return
        if not self._has_timer:
            self._must_wait.notify()

    def _start_thread(self) -> bool:
        number = len(self._threads)
        try:
            thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
            thread.start()
        except (RuntimeError, MemoryError) as error:  # the container's limits, for a moment
            if not self._threads:
                raise
            _log.warning("%s: %s; %d threads serve meanwhile", self._name, error, number)
            return False
        self._threads.append(thread)
        self._starting += 1
        return True

    def _work(self) -> None:
        with self._may_begin:
            self._starting -= 1
        while (task := self._next()) is not None:
            try:
                task()
            except Exception:  # noqa: BLE001 - the thread is kept
                _log.exception("%s: a task failed unexpectedly", self._name)
            del task  # a waiting thread must not keep its last task's objects alive

    def _next(self) -> Task | None:
        this = threading.current_thread()
        with self._may_begin:
            self._young.pop(this, None)
            while not self._tasks or self._is_full():
                if self._stopping and not self._tasks:
                    self._may_begin.notify_all()
                    self._must_wait.notify()
                    return None
                self._idle += 1
                self._may_begin.wait()
                self._idle -= 1
            self._young[this] = time.monotonic()
            task = self._tasks.popleft()
            self._wake()
            return task

    def _age(self) -> None:
        """While tasks must wait, have the oldest of the young ones be young no longer, in time."""
        ended = False
        while not ended:
            try:
                ended = self._age_once()
            except Exception:  # noqa: BLE001 - without this thread, calls that hang end all service
                with contextlib.suppress(Exception):  # without memory there is no log either
                    _log.exception("%s: tasks may have to wait", self._name)
                time.sleep(self.young_seconds)

    def _age_once(self) -> bool:
        """Wait, or let a task begin; return True once there is nothing left to do."""
        with self._must_wait:
            if self._stopping and not self._tasks:
                return True
            oldest = next(iter(self._young), None)
            seconds = self.young_seconds if self._tasks else None
            # Whether it is full or not: a thread that was woken may not have begun its task yet.
            if seconds is not None and oldest is not None:
                seconds -= time.monotonic() - self._young[oldest]
                if seconds <= 0:
                    del self._young[oldest]
                    self._wake()
                    return False
            self._has_timer = seconds is not None
            self._must_wait.wait(seconds)
            self._has_timer = False
            self._wake()
            return False
