"""Locks by container ID: two calls of one container never overlap, others do not wait."""

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

from openeni_nodeagent.cni.call import StoppingError
from openeni_nodeagent.cni.protocol import CNIError, Code


class ContainerLocks:
    """Knows the containers that have a call running."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[str] = set()
        self._ending: list[str] = []  # one entry for each call that wants the container to end
        self._stopping = False

    @contextmanager
    def locked(self, container_id: str, deadline: float = 0.0) -> Generator[None]:
        """Hold the container's lock during the block.

        Raises CNIError if it is not free until `deadline` (monotonic; the default does not wait),
        and StoppingError if the agent stops meanwhile.
        """
        with self._changed:
            while container_id in self._running:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise CNIError(
                        Code.TRY_AGAIN, f"another call of container {container_id} still runs"
                    )
                if self._stopping:
                    raise StoppingError
                self._changed.wait(left)
            self._running.add(container_id)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(container_id)
                self._changed.notify_all()

    def is_at_work(self, container_id: str) -> bool:
        """Return True while the container's lock is held."""
        with self._changed:
            return container_id in self._running

    @contextmanager
    def ending(self, container_id: str) -> Generator[None]:
        """Have `is_ending` return True during the block: a call that only waits may give up."""
        with self._changed:
            self._ending.append(container_id)
        try:
            yield
        finally:
            with self._changed:
                self._ending.remove(container_id)

    def is_ending(self, container_id: str) -> bool:
        """Return True while a call wants the container to end."""
        with self._changed:
            return container_id in self._ending

    def stop(self) -> None:
        """Raise StoppingError in all calls that wait for another one."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
