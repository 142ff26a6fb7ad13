"""A process of the benchmark's own that answers a line of JSON for each line that it is sent.

It ends with its standard input, and so with the process that started it.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from openeni_crds.meta import Json
from openeni_testing.waiting import reap

END_SECONDS: Final = 30.0


class Child:
    """The end of the process that started it. Any thread may ask."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, order: str, **given: Any) -> Json:
        """Send an order and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps({"order": order, **given}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} has ended; its errors are above")
        answer: Json = json.loads(line)
        return answer


@contextmanager
def child(module: str, *arguments: str) -> Generator[Child]:
    """Run a module as a process during the block; it has imported everything once this begins."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the process that cleans up
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        started = Child(process)
        started.ask("ping")
        yield started
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        reap(process, END_SECONDS)
        process.stdout.close()


def answer_orders(orders: Mapping[str, Callable[..., Json]]) -> None:
    """Answer orders until the standard input ends."""
    for line in sys.stdin:
        given: Json = json.loads(line)
        order = given.pop("order")
        answer: Json = {} if order == "ping" else orders[order](**given)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
