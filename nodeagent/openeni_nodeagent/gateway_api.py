"""The interface between the agent and what asks an ENI's gateways, on a kernel or in a test."""

from enum import Enum, auto
from typing import Protocol

from openeni_nodeagent.datapath_api import LinkFacts


class Answer(Enum):
    """Says what the kernel knows of a gateway."""

    FRESH = auto()  # it has answered of late
    OLD = auto()  # it has answered before, and is asked again
    NONE = auto()  # it is asked, and has not answered
    FIXED = auto()  # somebody has set its MAC for good, so the kernel asks nobody


class Listener(Protocol):
    """Hears what a network asks the node."""

    def finish(self) -> bool:
        """Close, and return whether the gateway has asked for the address. Raises DatapathError."""
        ...

    def close(self) -> None: ...


class GatewayProbe(Protocol):
    """Asks gateways. Nothing waits for an answer; both methods may raise DatapathError."""

    def ask(self, link: LinkFacts, gateway: str, /) -> Answer:
        """Return what is known of a gateway on a link, and have it asked (again)."""
        ...

    def listen(self, link: LinkFacts, mac: str, gateway: str, spare: str, /) -> Listener:
        """Have the gateway answer an address that no pod has, and listen for what comes of it.

        Both are IPv4; `mac` is the link's.
        """
        ...
