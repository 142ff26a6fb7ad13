"""Which ENI of a node gets an address that a pod waits for."""

import pytest

from openeni_crds.conditions import Reason, Status, Type
from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_operator.podip.target_eni import can_get
from openeni_testing.objects import condition, eni_body, port_status


def an_eni(link: Status, reason: Reason) -> ENI:
    """Return an ENI that the operator has called Ready before its agent has reported this."""
    conditions = [condition(Type.READY), condition(Type.LINK_READY, link) | {"reason": reason}]
    status = {"conditions": conditions, "port": port_status("a")}
    return decode(eni_body("a") | {"status": status}, ENI)


@pytest.mark.parametrize(
    ("link", "reason", "gets"),
    [
        (Status.TRUE, Reason.LINK_UP, True),
        (Status.FALSE, Reason.WAITING_FOR_NIC, True),
        (Status.FALSE, Reason.NO_CARRIER, False),
        (Status.FALSE, Reason.NIC_MISSING, False),
        (Status.FALSE, Reason.KERNEL_REFUSED, False),
    ],
)
def test_none_whose_link_has_failed(link: Status, reason: Reason, *, gets: bool) -> None:
    assert can_get(an_eni(link, reason), ["10.98.0.9"]) == gets
