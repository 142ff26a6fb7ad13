"""The interface between the agent and what asks an ENI's gateways, on a kernel or in a test."""

from enum import Enum, auto
from typing import Protocol

from openeni_nodeagent.datapath_api import LinkFacts


class Answer(Enum):
    """What the kernel knows of a gateway."""

    FRESH = auto()  # it has answered of late
    OLD = auto()  # it has answered before, and is asked again
    NONE = auto()  # it is asked, and has not answered


class GatewayProbe(Protocol):
    """Asks gateways. Nothing waits for an answer; both methods may raise DatapathError."""

    def ask(self, link: LinkFacts, gateway: str, /) -> Answer:
        """Return what is known of a gateway on a link; it is asked again unless that is fresh."""
        ...

    def is_asked_for(self, link: LinkFacts, mac: str, gateway: str, spare: str, /) -> bool | None:
        """Return whether the network has asked the node for an address that no pod has.

        The first call for the ENI with this MAC has the gateway answer that address, and returns
        None; the next one says what has come of it since. Both are IPv4.
        """
        ...
