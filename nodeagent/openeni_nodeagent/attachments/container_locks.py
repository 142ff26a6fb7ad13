"""One at a time for one key, without a lock for all: two calls of one container never overlap."""

import threading
from collections.abc import Generator
from contextlib import contextmanager


class ContainerLocks:
    """A lock for each key that is in use."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}  # with how many want it

    @contextmanager
    def hold(self, key: str) -> Generator[None]:
        with self._mutex:
            lock, wanted = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = lock, wanted + 1
        try:
            with lock:
                yield
        finally:
            with self._mutex:
                lock, wanted = self._locks[key]
                if wanted == 1:
                    del self._locks[key]
                else:
                    self._locks[key] = lock, wanted - 1
