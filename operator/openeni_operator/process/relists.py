"""Have kopf list everything again, from any thread: its watches do not notice a restored etcd."""

import threading
from collections.abc import Callable
from contextlib import suppress


class Relists:
    """Requests to end a run of kopf, which is followed by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requested = False
        self._end: Callable[[], object] | None = None  # ends the present run

    def request(self) -> None:
        with self._lock:
            self._requested = True
            self._end_run()

    def begin(self, end: Callable[[], object]) -> None:
        """Note how the run that begins is ended; `end` may raise RuntimeError once it has."""
        with self._lock:
            self._end = end
            if self._requested:
                self._end_run()

    def take(self) -> bool:
        """Return, once a run has ended, whether that was requested."""
        with self._lock:
            requested, self._requested, self._end = self._requested, False, None
            return requested

    def _end_run(self) -> None:
        if self._end is not None:
            with suppress(RuntimeError):
                self._end()
