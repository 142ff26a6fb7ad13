"""Locks by container ID: two calls of one container never overlap, others do not wait."""

import threading
from collections.abc import Generator
from contextlib import contextmanager


class ContainerLocks:
    """Keeps a lock for each container that has a call running or waiting."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._locks: dict[str, tuple[threading.Lock, int]] = {}  # with the number of its users

    @contextmanager
    def locked(self, key: str) -> Generator[None]:
        with self._mutex:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._mutex:
                lock, users = self._locks[key]
                if users == 1:
                    del self._locks[key]
                else:
                    self._locks[key] = lock, users - 1
