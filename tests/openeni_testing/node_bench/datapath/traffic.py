"""Run traffic.c between network namespaces."""

import subprocess
from functools import partial
from pathlib import Path
from typing import Final

from openeni_testing.network.netns import Namespace
from openeni_testing.node_bench.process import compile_c
from openeni_testing.waiting import wait_for

SOURCE: Final = Path(__file__).with_name("traffic.c")
PORT: Final = 5201
TESTS: Final = ("tcp_rr", "tcp_crr", "tcp_stream", "udp_rr")
MOST_CONNECTIONS: Final = 2000  # of one sample: each leaves an entry of conntrack for two minutes
UNLIMITED: Final = 1 << 40
_PATIENCE: Final = 30.0
_FIRST_SECONDS: Final = 0.01


def build(folder: Path) -> Path:
    return compile_c(SOURCE.read_text(), folder / "traffic")


class Server:
    """Answers every test in a namespace until `close`."""

    def __init__(self, program: Path, namespace: Namespace) -> None:
        command = [str(program), "serve", str(PORT)]
        self._process = namespace.run(partial(subprocess.Popen, command))

    def close(self) -> None:
        self._process.kill()
        self._process.wait(_PATIENCE)


def wait_until_reached(program: Path, client: Namespace, address: str) -> None:
    """Wait until requests are answered. Raises AssertionError if none is."""

    def answered() -> bool:
        return rate(program, client, "tcp_rr", address, _FIRST_SECONDS) > 0

    wait_for(answered, f"{client.name} reaches {address}", _PATIENCE)


def rate(
    program: Path, client: Namespace, test: str, address: str, seconds: float, *, wait: int = 0
) -> float:
    """Return transactions, or bytes, in one second of the processor's time.

    `wait` is how many seconds `udp_rr` pauses after its first transaction.
    """
    most = MOST_CONNECTIONS if test == "tcp_crr" else UNLIMITED
    amounts = (f"{seconds:g}", str(most), str(wait))
    out = client.program(str(program), test, address, str(PORT), *amounts)
    done, nanoseconds = map(int, out.split())
    return done / nanoseconds * 1e9
