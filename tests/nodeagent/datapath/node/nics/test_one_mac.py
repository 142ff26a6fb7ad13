"""ENIs with a MAC that another NIC of the node has: a MAC is unique in each network only."""

from dataclasses import replace

import pytest

from openeni_crds.status.eni import PortSubnet
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_testing.network import neutron
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.network.reached_pod import ReachedPod
from openeni_testing.network.unserved import VETH, add_pod, attach

pytestmark = pytest.mark.root
OF_NODE = "fa:16:3e:99:00:0b"


def of_another_network(mac: str) -> ENIFacts:
    """Return an ENI whose port has this MAC, and addresses that nothing else has."""
    subnets = (PortSubnet("v4", "10.97.0.0/24", "10.97.0.1"),)
    return replace(eni_facts("eni-97", 97, VETH), mac=mac, primary=("10.97.0.4",), subnets=subnets)


def test_the_nodes_own_nic_is_left_alone(network: NeutronNetwork, node: Node) -> None:
    eni, _ = attach(node, 10)
    pod, wrong = add_pod(node, eni, 10), of_another_network(OF_NODE)
    before = node.namespace.program("ip", "addr", "show", "dev", "eth0")
    node.enis.insert(0, wrong)
    report = node.look()
    assert report.errors.keys() == {wrong.name}
    assert f"status.port.macAddress {OF_NODE} is that of eth0" in str(report.errors[wrong.name])
    report = node.release(wrong)
    assert not report.errors
    assert report.departed.keys() == {wrong.name}
    assert node.namespace.program("ip", "addr", "show", "dev", "eth0") == before
    assert node.namespace.ping(neutron.NODES_GATEWAY)
    assert pod.ask(neutron.OUTSIDE, 80) == ("outside", "10.98.0.11")
    assert network.dropped() == {}


@pytest.mark.parametrize("place", [0, 1])
def test_another_enis_nic_is_left_alone(bench: ReachedPod, place: int) -> None:
    node, other = bench.node, of_another_network(bench.eni.mac)
    node.enis.insert(place, other)
    for _ in range(2):
        report = node.look(into=True)
        assert report.errors.keys() == {other.name}
        assert not report.differing
        assert f"NIC of ENI {bench.eni.name}" in str(report.errors[other.name])
    report = node.release(other)
    assert not report.errors
    assert report.departed.keys() == {other.name}
    assert bench.check() == ()
    bench.assert_connected()


def test_an_enis_nic_goes_down_with_it_whatever_other_has_its_mac(bench: ReachedPod) -> None:
    other = of_another_network(bench.eni.mac)
    bench.node.enis.insert(0, other)
    bench.node.delete(bench.pod)
    assert bench.node.release(bench.eni).departed.keys() == {bench.eni.name}
    assert "state DOWN" in bench.node.namespace.program("ip", "link", "show", "ens7")
