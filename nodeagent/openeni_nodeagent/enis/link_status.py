"""The state of an ENI's link on this node, which its reconciler finds and a publisher writes."""

from dataclasses import dataclass

from openeni_crds.conditions import Reason


@dataclass(frozen=True)
class ConditionValue:
    """A condition without its type and its times. `ok` None is Unknown."""

    ok: bool | None
    reason: Reason
    message: str = ""


@dataclass(frozen=True)
class LinkStatus:
    """The agent's conditions of one ENI, GuestPrepared and LinkReady, and its device."""

    guest: ConditionValue = ConditionValue(ok=None, reason=Reason.WAITING_FOR_PORT)
    link: ConditionValue = ConditionValue(ok=None, reason=Reason.WAITING_FOR_PORT)
    device: str = ""
    ifindex: int = 0
