"""Turns in the kernel, which whatever builds and removes pods takes: a few at a time."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

# With twenty ADDs at a time, each takes three times as long as with two, because they wait for the
# kernel's rtnl lock and the interpreter's.
TURNS: Final = 2


class Turns(threading.BoundedSemaphore):
    def __init__(self) -> None:
        super().__init__(TURNS)

    @contextmanager
    def let_others(self) -> Generator[None]:
        """Give up the thread's own turn for what takes as long as a pod likes."""
        self.release()
        try:
            yield
        finally:
            self.acquire()

    @contextmanager
    def holding(self, lock: threading.Lock) -> Generator[None]:
        """Hold a lock; while the thread waits for it, it gives up its own turn."""
        if not lock.acquire(blocking=False):
            with self.let_others():
                lock.acquire()
        try:
            yield
        finally:
            lock.release()
