"""Daemon threads that run tasks: started as they are needed, kept, and bounded in number.

Unlike `concurrent.futures` it never keeps the process from ending for a task that hangs, and a
thread that cannot be started costs no task as long as there is another one.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

Task: TypeAlias = Callable[[], None]
_log: Final = logging.getLogger(__name__)


class ThreadPool:
    """Tasks are begun in the order of their submission."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._changed = threading.Condition()
        self._tasks: deque[Task] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._stopping = False

    def submit(self, task: Task) -> None:
        """Run the task as soon as there is a thread for it.

        Raises RuntimeError or MemoryError if there is no thread and none can be started.
        """
        with self._changed:
            self._tasks.append(task)
            if self._idle < len(self._tasks) and len(self._threads) < self._most:
                self._start_thread(task)
            self._changed.notify()

    def stop(self, seconds: float) -> int:
        """Wait up to `seconds` until every task has ended; return how many threads still run."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return sum(thread.is_alive() for thread in self._threads)

    def _start_thread(self, task: Task) -> None:
        number = len(self._threads)
        thread = threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:  # the container's limits, for a moment
            if not self._threads:
                self._tasks.remove(task)
                raise
            _log.warning("%s: %s; %d threads serve meanwhile", self._name, error, number)
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (task := self._next()) is not None:
            try:
                task()
            except Exception:  # noqa: BLE001 - the thread is kept
                _log.exception("%s: a task failed unexpectedly", self._name)
            del task  # a waiting thread must not keep its last task's objects alive

    def _next(self) -> Task | None:
        with self._changed:
            while not self._tasks:
                if self._stopping:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return self._tasks.popleft()
