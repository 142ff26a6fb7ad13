"""A node's PodIPs are listed only when a port may have taken an address from a pod, or given back.

A port that is created, and one that gets more addresses, take nothing from anybody.
"""

import pytest
from msgspec.structs import replace

from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_crds.status.eni import NodeStatus, PortStatus, PortSubnet
from openeni_operator.eni.reconcile import concerns_pods
from openeni_testing.objects import eni_body

A, B, C = "10.98.0.3", "10.98.0.4", "10.98.0.5"


def port(*addresses: str, lost: str = "", releasing: str = "") -> PortStatus:
    subnet = PortSubnet("s", "10.98.0.0/22")
    made = PortStatus("p", "", "fa:16:3e:00:00:01", 1, 1450, (subnet,), ("10.98.0.2",), addresses)
    return replace(
        made,
        lost=(lost,) if lost else (),
        releasing=(releasing,) if releasing else (),
    )


@pytest.mark.parametrize(
    ("before", "after", "reported", "concerned"),
    [
        pytest.param(None, port(A, B), False, False, id="the first port"),
        pytest.param(None, port(A, B), True, True, id="another port, after one was lost"),
        pytest.param(None, None, True, False, id="still none"),
        pytest.param(port(A), port(A), True, False, id="the same"),
        pytest.param(port(A), port(A, B), True, False, id="one more"),
        pytest.param(port(A, B), port(A, lost=B), True, True, id="one is lost"),
        pytest.param(port(A, lost=B), port(A, B), True, True, id="one is back"),
        pytest.param(port(A, lost=B), port(A, C, lost=B), True, False, id="another one comes"),
        pytest.param(port(A, B), port(A, releasing=B), True, False, id="one is given back"),
        pytest.param(port(A, releasing=B), port(A), True, False, id="one was given back"),
        pytest.param(port(A), None, True, True, id="the port is lost"),
    ],
)
def test_the_pods_that_a_port_concerns(
    before: PortStatus | None, after: PortStatus | None, reported: bool, concerned: bool
) -> None:
    made = decode(eni_body("e"), ENI)
    node = NodeStatus() if reported else None
    eni = replace(made, status=replace(made.status, port=before, node=node))
    assert concerns_pods(eni, after) == concerned
