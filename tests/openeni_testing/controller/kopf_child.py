"""Run kopf as the operator does, on the API server of $KUBECONFIG; log the pools that it shows.

SIGUSR1 has it list them again.
"""

import logging
import signal
import threading
from typing import Any, Final

from openeni_operator.cluster_state import Change, ClusterState
from openeni_operator.handlers import run_kopf
from openeni_operator.process.probes import LoopCheck
from openeni_operator.process.relists import Relists

LOG: Final = logging.getLogger(__name__)


def show(change: Change[Any]) -> None:
    LOG.info("%s", change.after.name if change.after else "gone")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    relists = Relists()
    signal.signal(
        signal.SIGUSR1, lambda _number, _frame: threading.Thread(target=relists.request).start()
    )
    run_kopf(ClusterState(show), LoopCheck(), relists)
