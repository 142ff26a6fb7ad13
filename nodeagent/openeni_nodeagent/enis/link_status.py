"""The state of an ENI's link on this node, which its reconciler finds and a publisher writes."""

from dataclasses import dataclass, replace
from typing import Final, Self

from openeni_crds.conditions import Reason


@dataclass(frozen=True)
class ConditionValue:
    """A condition without its type and its times. `ok` None is Unknown."""

    ok: bool | None
    reason: Reason
    message: str = ""


UNKNOWN: Final = ConditionValue(
    ok=None, reason=Reason.WAITING_FOR_AGENT, message="the node's agent has not looked at it yet"
)


@dataclass(frozen=True)
class LinkStatus:
    """The agent's conditions of one ENI, GuestPrepared, LinkReady and GatewayReachable, its device.

    They are about the port with this MAC address: what was found for one does not hold for another.
    """

    mac_address: str = ""  # "" for no port
    guest: ConditionValue = UNKNOWN
    link: ConditionValue = UNKNOWN
    gateways: ConditionValue | None = None  # None: there are none, or they were not asked
    device: str = ""
    ifindex: int = 0

    def with_link(self, link: ConditionValue, device: str = "", ifindex: int = 0) -> Self:
        """Return the status with another state of the link, and its device if it has one."""
        gateways = self.gateways if link.ok else None
        return replace(self, link=link, gateways=gateways, device=device, ifindex=ifindex)


def without_port() -> LinkStatus:
    """Return the status of an ENI that has no port, or has one no more."""
    value = ConditionValue(
        ok=None, reason=Reason.WAITING_FOR_PORT, message="the ENI has no port: see PortReady"
    )
    return LinkStatus(guest=value, link=value)
