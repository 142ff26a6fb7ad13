"""One CNI call on its way through the agent, and at its end; or left to the next agent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec import Struct

from openeni_nodeagent.cni.protocol import CNIError, Code, Request
from openeni_nodeagent.phases import Stopwatch

Deferred: TypeAlias = Callable[[], None]
ALIVE_POLL_SECONDS: Final = 1.0  # until a call that waits notices that its executable is gone


class StoppingError(Exception):
    """The agent stops: the connection is closed without an answer, and the executable retries."""


class Call(Struct, frozen=True):
    """A call of the runtime. The server runs what is in `deferred` once it has answered."""

    request: Request
    deadline: float  # time.monotonic() at which the answer must have been sent
    stopwatch: Stopwatch
    alive: Callable[[], bool]  # False once the executable is gone
    deferred: list[Deferred] = []  # each call has its own: msgspec copies an empty list


@dataclass(frozen=True)
class EndedCall:
    """A call whose answer has been sent, or could not be."""

    environment: Mapping[str, str]
    error: CNIError | None
    seconds: Mapping[str, float]  # by phase

    @property
    def command(self) -> str:
        """Return what the runtime asked for, which may be no command of CNI's."""
        return self.environment.get("CNI_COMMAND", "")


def require_alive(alive: Callable[[], bool]) -> None:
    """Raise CNIError if the call's executable is gone, so that nobody reads an answer."""
    if not alive():
        raise CNIError(Code.TRY_AGAIN, "the runtime has abandoned this call")
