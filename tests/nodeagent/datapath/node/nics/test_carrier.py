"""A NIC without a carrier, which may be back in a moment, keeps nobody from being built."""

import pytest

from openeni_nodeagent.datapath_api import NoCarrierError
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node
from openeni_testing.network.unserved import add_pod, attach
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root


def has_carrier(node: Node) -> bool:
    return "LOWER_UP" in node.namespace.program("ip", "link", "show", "ens10")


def test_pods_are_built_while_their_nic_has_no_carrier(network: NeutronNetwork, node: Node) -> None:
    eni, port = attach(node, 10)
    node.look()
    network.fabric.ip(f"link set {port.device} down")
    wait_for(lambda: not has_carrier(node), "it has none")
    assert isinstance(node.look().errors[eni.name], NoCarrierError)
    pod = add_pod(node, eni, 10)
    network.fabric.ip(f"link set {port.device} up")
    wait_for(lambda: has_carrier(node), "it has one again")
    assert node.look().errors == {}
    assert pod.ping("10.98.0.1")
