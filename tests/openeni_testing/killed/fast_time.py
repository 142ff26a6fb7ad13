"""Time that passes faster, so that waits of minutes fit into a test of seconds.

Unlike smaller constants it keeps every proportion: between the operator's waits, the cloud's delays
and the Lease. Time-outs of sockets stay those of the real clock.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from unittest.mock import patch

from openeni_kube.wire import format_time

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_monotonic: Final = time.monotonic  # one clock for all processes of a machine (clock_gettime(2))
_sleep: Final = time.sleep
_wait: Final = threading.Condition.wait


@dataclass(frozen=True)
class FastTime:
    """Passes `factor` times as fast since `origin`, which is a time of the real clock."""

    factor: float
    origin: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Return the fast seconds since the origin."""
        return (_monotonic() - self.origin) * self.factor

    def now(self) -> str:
        """Return the time as the API's objects have it."""
        return format_time(START + timedelta(seconds=int(self.seconds())))

    def sleep(self, seconds: float) -> None:
        _sleep(seconds / self.factor)

    def install(self) -> None:
        """Let this process live in it; before modules are imported that keep the real clock."""

        def clock_gettime(_: int) -> float:
            return self.seconds()

        def wait(condition: threading.Condition, timeout: float | None = None) -> bool:
            return _wait(condition, None if timeout is None else timeout / self.factor)

        self._replace(time, "monotonic", self.seconds)
        self._replace(time, "clock_gettime", clock_gettime)
        self._replace(time, "sleep", self.sleep)
        self._replace(threading.Condition, "wait", wait)  # events and queues wait by it

    @staticmethod
    def _replace(owner: object, name: str, value: Callable[..., object]) -> None:
        patch.object(owner, name, value).start()
