"""The product's operator as a process, with the settings of the benchmark."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_operator.cloud.budget import CallType
from openeni_operator.process.metric_catalogue import RECONCILE_SECONDS
from openeni_testing.objects import REPOSITORY
from openeni_testing.operator_bench.usage import cpu_seconds, peak_mebibytes
from openeni_testing.waiting import reap, wait_for

RATES: Final = {CallType.READ: 50.0, CallType.WRITE: 20.0, CallType.ATTACH: 20.0}
END_SECONDS: Final = 30.0
_RECONCILES: Final = re.compile(
    r"^" + RECONCILE_SECONDS.name + r'_count\{.*kind="(\w+)".*\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True)
class OperatorProcess:
    """A running operator."""

    process: "subprocess.Popen[bytes]"
    log: Path
    begun: float  # by the monotonic clock
    seconds_to_ready: float
    port: int  # of its probes and metrics

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_seconds(self) -> float:
        return cpu_seconds([self.pid])

    def peak_mebibytes(self) -> float:
        return peak_mebibytes(self.pid)

    def reconciles(self) -> Counter[str]:
        """Return how many reconciles have ended, by kind."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        counts: Counter[str] = Counter()
        for kind, count in _RECONCILES.findall(text):
            counts[kind] += int(float(count))
        return counts

    def check_log(self) -> None:
        """Raise an error if the operator has ended or logged an exception."""
        text = self.log.read_text()
        if self.process.poll() is not None or "Traceback" in text:
            raise RuntimeError(f"the operator has failed:\n{text[-4000:]}")


def settings(clouds_yaml: Path, kubeconfig: Path, resync: float) -> dict[str, str]:
    """Return the operator's environment variables."""
    return {
        "KUBECONFIG": str(kubeconfig),
        "OPENENI_CLOUDS_FILE": str(clouds_yaml),
        "OPENENI_RESYNC_SECONDS": f"{resync:g}",
        "OPENENI_METRICS": "true",
        "OPENENI_CLOUD_READS_PER_SECOND": f"{RATES[CallType.READ]:g}",
        "OPENENI_CLOUD_WRITES_PER_SECOND": f"{RATES[CallType.WRITE]:g}",
        "OPENENI_CLOUD_ATTACHES_PER_SECOND": f"{RATES[CallType.ATTACH]:g}",
    }


@contextmanager
def running(variables: dict[str, str], log: Path) -> Generator[OperatorProcess]:
    """Run the operator during the block, which begins once it is ready."""
    port = _free_port()
    begun = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "openeni_operator"],
            env=_environment() | variables | {"OPENENI_PROBE_PORT": str(port)},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the process that cleans up
        )
    try:
        wait_for(lambda: _is_ready(process, port), "the operator is ready", 120)
        operator = OperatorProcess(process, log, begun, time.monotonic() - begun, port)
        yield operator
        operator.check_log()
    finally:
        process.send_signal(signal.SIGTERM)
        reap(process, END_SECONDS)


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(str(REPOSITORY / folder) for folder in ("operator", "kube", "crds"))
    others = ("OPENENI_", "OS_", "KUBE", "PYTHONDONTWRITEBYTECODE")  # an image has the byte code
    kept = {k: v for k, v in os.environ.items() if not k.startswith(others)}
    return {**kept, "PYTHONPATH": paths}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _is_ready(process: "subprocess.Popen[bytes]", port: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"the operator has ended with {process.returncode}")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10):
            return True
    except urllib.error.URLError:
        return False
