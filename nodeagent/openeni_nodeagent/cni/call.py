"""One CNI call on its way through the agent, and the one way to end it without an answer."""

from collections.abc import Callable
from dataclasses import dataclass

from openeni_nodeagent.cni.protocol import Request
from openeni_nodeagent.phases import Stopwatch


class StoppingError(Exception):
    """The agent is going: the connection is closed unanswered, and the executable asks the next."""


@dataclass(frozen=True)
class Call:
    request: Request
    deadline: float  # time.monotonic() by which the answer must be on its way
    phases: Stopwatch
    alive: Callable[[], bool]  # whether anybody still waits for the answer
