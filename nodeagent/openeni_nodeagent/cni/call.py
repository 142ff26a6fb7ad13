"""One CNI call on its way through the agent, and the exception that leaves it to the next agent."""

from collections.abc import Callable
from dataclasses import dataclass

from openeni_nodeagent.cni.protocol import Request
from openeni_nodeagent.phases import Stopwatch


class StoppingError(Exception):
    """The agent stops: the connection is closed without an answer, and the executable retries."""


@dataclass(frozen=True)
class Call:
    request: Request
    deadline: float  # time.monotonic() at which the answer must have been sent
    stopwatch: Stopwatch
    alive: Callable[[], bool]  # False once the executable is gone
