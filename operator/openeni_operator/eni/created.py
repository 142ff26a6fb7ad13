"""Remember which ENIs this process has created, until their first reconcile.

A port's name holds its ENI's UID: before that ENI was there, nobody can have requested its port. So
the cloud need not be asked whether it has one.
"""

import threading
from collections.abc import Callable


class CreatedENIs:
    """Thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times: dict[str, float] = {}  # by UID

    def note(self, uid: str) -> None:
        """Note that the API server has just created an ENI for this process."""
        with self._lock:
            self._times[uid] = self._clock()

    def take(self, uid: str) -> float | None:
        """Return, once, when the ENI was created; None if not by this process."""
        with self._lock:
            return self._times.pop(uid, None)
