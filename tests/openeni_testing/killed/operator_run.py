"""One run of the operator's process: elected, with the product's wiring, on the test's store."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from openeni_operator.__main__ import wait_to_lead
from openeni_operator.cloud.admission import CallLimits
from openeni_operator.process.leadership import Leadership
from openeni_operator.process.probes import Probes
from openeni_operator.settings import Settings
from openeni_testing.controller.running import running_operator
from openeni_testing.killed.fast_time import FastTime
from openeni_testing.store.remote import RemoteStore

NAMESPACE: Final = "openeni-system"
RESYNC: Final = 60.0  # seconds
KOPF_SECONDS: Final = 3.0  # that kopf takes to end, while reconciles go on
LIMITS: Final = CallLimits(reads=1000, writes=1000, attaches=1000)


def run(folder: Path, name: str, time: FastTime, timeout: float) -> int:
    """Lead and reconcile until another operator leads; return the exit status.

    `timeout` is that of each call to a cloud, in seconds of the real clock.
    """
    logging.basicConfig(level="WARNING", format=f"%(asctime)s {name} %(threadName)s %(message)s")
    store = RemoteStore(folder / "store.sock")
    leadership = Leadership(store, NAMESPACE, name)
    wait_to_lead(leadership, Probes())
    lost = threading.Event()
    leadership.keep(lost.set)
    with running_operator(
        store,
        folder / "clouds.yaml",
        settings=Settings(resync=RESYNC),
        limits=LIMITS,
        timeout=timeout,
        may_write=_noted(leadership.holds, folder / f"{name}.fence", time),
        now=time.now,
    ):
        lost.wait()
        threading.Event().wait(KOPF_SECONDS)
    return 1


def _noted(holds: Callable[[], bool], file: Path, time: FastTime) -> Callable[[], bool]:
    """Return the fence with a record of its answers, which outlives the process."""
    record = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def may_write() -> bool:
        answer = holds()
        os.write(record, f"{time.seconds()} {answer}\n".encode())
        return answer

    return may_write
