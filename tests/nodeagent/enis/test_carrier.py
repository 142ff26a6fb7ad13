"""A NIC without a carrier is not ready, nor are its pods."""

import pytest

from openeni_crds.conditions import Reason, Type, find
from openeni_testing.agent.real_node import RealNode
from openeni_testing.network.netns import Namespace
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
SOON = 20.0  # before the periodic look, however slow the machine is


def test_a_nic_without_a_carrier_is_reported_and_used_again_as_soon_as_it_has_one(
    node: RealNode,
) -> None:
    with Namespace("web") as pod, node.agent():
        node.add(pod)
        node.network.fabric.ip(f"link set {node.port.device} down")
        wait_for(lambda: not node.is_ready(), "nothing passes", SOON)
        found = find(node.host.eni().status.conditions, Type.LINK_READY)
        assert found is not None
        assert (found.reason, found.message.partition(":")[0]) == (
            Reason.NO_CARRIER,
            "NIC ens7 has no carrier",
        )
        node.network.fabric.ip(f"link set {node.port.device} up")
        wait_for(node.is_ready, "it is used again", SOON)
        assert pod.ping("10.98.0.1")
