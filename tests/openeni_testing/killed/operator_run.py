"""One run of the operator's process: elected, with the product's wiring, on the test's store."""

import logging
import os
import threading
from pathlib import Path
from typing import Final

from openeni_operator.__main__ import connect_clouds, wait_to_lead
from openeni_operator.process.leadership import Leadership
from openeni_operator.process.metrics import Metrics
from openeni_operator.process.probes import Probes
from openeni_operator.settings import Settings
from openeni_testing.controller.running import running_controllers
from openeni_testing.killed.fast_time import FastTime
from openeni_testing.store.remote import RemoteStore

NAMESPACE: Final = "openeni-system"
RESYNC: Final = 60.0  # seconds
KOPF_SECONDS: Final = 3.0  # that kopf takes to end, while reconciles go on
UNLIMITED: Final = 1000  # calls per second


def run(folder: Path, name: str, time: FastTime, timeout: float) -> int:
    """Lead and reconcile until another operator leads; return the exit status.

    `timeout` is that of each call to a cloud, in seconds of the real clock.
    """
    logging.basicConfig(level="WARNING", format=f"%(asctime)s {name} %(threadName)s %(message)s")
    store = RemoteStore(folder / "store.sock")
    leadership = NotedLeadership(store, NAMESPACE, name)
    leadership.note(folder / f"{name}.fence", time)
    wait_to_lead(leadership, Probes())
    lost = threading.Event()
    leadership.keep(lost.set)
    unlimited = Settings(
        str(folder / "clouds.yaml"),
        cloud_timeout=timeout,
        cloud_reads=UNLIMITED,
        cloud_writes=UNLIMITED,
        cloud_attaches=UNLIMITED,
    )
    clouds = connect_clouds(unlimited, leadership, Metrics())
    settings = Settings(resync=RESYNC)  # with its usual number of threads
    with running_controllers(store, clouds, settings=settings, now=time.now):
        lost.wait()
        threading.Event().wait(KOPF_SECONDS)
    return 1


class NotedLeadership(Leadership):
    """A leadership whose fence records its answers, in a file that outlives the process."""

    def note(self, file: Path, time: FastTime) -> None:
        """Record each answer from now on, with its time."""
        self._record = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._time = time

    def holds(self) -> bool:
        """Return the answer, recorded."""
        answer = super().holds()
        os.write(self._record, f"{self._time.seconds()} {answer}\n".encode())
        return answer
