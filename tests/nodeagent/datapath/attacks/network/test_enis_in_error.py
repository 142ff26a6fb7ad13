"""ENIs that can get no pods now: no ways in or out, whoever has set up their NICs or flushed what.

Their pods go on.
"""

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_testing.network.attacks import datagram, received, sending
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import METADATA, OUTSIDE, NeutronNetwork, Port, vm
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.unserved import (
    add_pod,
    addresses,
    attach,
    flush_rules,
    masquerade,
    put_in_error,
)

pytestmark = pytest.mark.root
L2 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2))
NODE = "10.99.0.11"
REMOTE = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::c8"))
POD = "10.98.0.11"
SERVED = 80  # by each pod
FEW = 0x00030000  # a mask with two marks of ENIs


def look(node: Node) -> None:
    """Look at the node, one of whose ENIs is in error."""
    for _ in range(2):
        assert len(node.look().errors) == 1


def assert_no_way_in(network: NeutronNetwork, node: Node, eni: ENIFacts) -> None:
    """A machine of the pods' network sends a datagram for the node to the ENI's MAC."""
    with vm(network, "remote", REMOTE) as remote:
        frame = datagram(REMOTE.addresses[0], NODE, (REMOTE.mac, eni.mac))
        attack = sending(remote, "eth0", frame)
        assert received(remote, attack, NODE, node.namespace) == []


def plug_and_set_up(node: Node, device: str, port: Port) -> None:
    """Plug a NIC, and set it up, as an image's network program does."""
    node.network.plug(node.namespace, device, port)
    node.namespace.ip(f"link set {device} up")


@pytest.fixture(params=MODES)
def running(request: pytest.FixtureRequest, network: NeutronNetwork, node: Node) -> Namespace:
    """A pod that runs on an ENI in error, which is the node's only one."""
    datapath: Datapath = request.param
    eni, port = attach(node, 10, datapath, dual=True)
    if datapath.ipvlan_mode is IPVlanMode.L3:  # does not work without
        network.answer_arp(port)
    pod = add_pod(node, eni, 10, dual=True)
    put_in_error(node)
    return pod


@pytest.mark.parametrize("agent", ["goes on", "starts anew", "starts anew without rules"])
def test_an_eni_in_error_whose_filters_were_flushed_is_no_way_into_the_node_or_out(
    network: NeutronNetwork, node: Node, running: Namespace, agent: str
) -> None:
    if agent != "goes on":
        node.datapath = KernelDatapath()
    if agent.endswith("without rules"):
        flush_rules(node)
    node.namespace.nft("flush ruleset")
    look(node)
    assert_no_way_in(network, node, node.enis[0])
    masquerade(node)
    assert running.ask(METADATA, SERVED) is None
    assert running.ask(OUTSIDE, SERVED) == ("outside", POD)
    assert network.dropped() == {}


def test_its_pods_serve_as_before(network: NeutronNetwork, node: Node, running: Namespace) -> None:
    with vm(network, "remote", REMOTE) as remote:
        assert remote.ask(POD, SERVED) == (running.name, REMOTE.addresses[0])
        node.namespace.nft("flush ruleset")
        look(node)
        assert remote.ask(POD, SERVED) == (running.name, REMOTE.addresses[0])


@pytest.mark.parametrize("sender", ["192.0.2.77", "fd02::77", "10.99.0.12", "127.0.0.1"])
def test_its_pods_are_heard_as_nobody_else(node: Node, running: Namespace, sender: str) -> None:
    node.namespace.nft("flush ruleset")
    look(node)
    eni, to = node.enis[0], "fd99::11" if ":" in sender else NODE
    node_mac = eni.mac if eni.datapath.mode is Mode.IPVLAN else names.VETH_MAC
    frame = datagram(sender, to, (eni.mac, node_mac))
    assert received(running, sending(running, "eth0", frame), to, node.namespace) == []


@pytest.mark.parametrize("datapath", MODES)
def test_a_nic_that_came_up_before_its_eni_could_be_served_is_no_way_in(
    network: NeutronNetwork, node: Node, datapath: Datapath
) -> None:
    put_in_error(node)
    eni = eni_facts("eni-10", 10, datapath, dual=True)
    plug_and_set_up(node, "ens10", Port(eni.name, eni.mac, eni.primary))
    node.enis = [eni]
    look(node)
    assert_no_way_in(network, node, eni)


@pytest.mark.parametrize("datapath", MODES)
def test_nor_is_one_that_was_plugged_again_meanwhile(
    network: NeutronNetwork, node: Node, datapath: Datapath
) -> None:
    eni, port = attach(node, 10, datapath, dual=True)
    put_in_error(node)
    network.unplug(port)
    look(node)
    plug_and_set_up(node, "ens11", port)
    look(node)
    assert_no_way_in(network, node, eni)


def test_nor_is_one_for_which_no_mark_is_left(network: NeutronNetwork, node: Node) -> None:
    node.datapath = KernelDatapath(FEW)
    for number in (10, 20):
        attach(node, number)
    eni = eni_facts("eni-30", 30, node.enis[0].datapath)
    plug_and_set_up(node, "ens30", Port(eni.name, eni.mac, (*eni.primary, *addresses(30))))
    node.enis = [*node.enis, eni]
    look(node)
    assert_no_way_in(network, node, eni)
    node.release(node.enis[0])
    assert node.look().errors == {}
    assert add_pod(node, eni, 30).ask(OUTSIDE, SERVED)


@pytest.mark.ipvlan
def test_a_hardened_node_is_reached_by_no_eni_and_left_by_its_own_nic_by_no_pod(
    network: NeutronNetwork, node: Node
) -> None:
    """With `arp_ignore=2` for all links, an ENI in L2 gets no pods."""
    eni, _ = attach(node, 10, L2)
    pod = add_pod(node, eni, 10)
    assert pod.ask(OUTSIDE, SERVED) == ("outside", POD)
    node.namespace.sysctl("net/ipv4/conf/all/arp_ignore", "2")
    node.namespace.nft("flush ruleset")
    look(node)
    masquerade(node)
    assert pod.ask(OUTSIDE, SERVED) == ("outside", POD)
    assert pod.ask(METADATA, SERVED) is None
    assert_no_way_in(network, node, eni)
