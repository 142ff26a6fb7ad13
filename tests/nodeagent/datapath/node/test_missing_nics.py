"""An ENI that cannot be planned, mostly as its NIC is gone: another one may have the name by now.

What is left of it keeps its own pods from the node's NIC, and nobody else from anything.
"""

from ipaddress import ip_address

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath_api import ENIFacts, ProgramFailedError
from openeni_testing.network import neutron
from openeni_testing.network.attacks import received, send_datagram
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, allowing_metadata, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = pytest.mark.root
L3S, L3 = (Datapath(Mode.IPVLAN, IPVlanDatapath(m)) for m in (IPVlanMode.L3S, IPVlanMode.L3))
OF_MISSING = "fd98::10"  # the primary address
LAYER_3 = [
    pytest.param(datapath, id=f"ipvlan-{datapath.ipvlan_mode}", marks=pytest.mark.ipvlan)
    for datapath in (L3S, L3)
]


def lose_nic(node: Node, datapath: Datapath) -> None:
    """Attach `ens10` and unplug it: its slot, and so its name, is free again."""
    port = node.attach("ens10", eni_facts("eni-a", 10, datapath, dual=True), ())
    node.network.unplug(port)
    node.look()


def add_pod(node: Node, device: str, eni: ENIFacts) -> Namespace:
    """Attach an ENI, and add a pod of it: its addresses end in the number after the ENI's."""
    addresses = tuple(str(ip_address(own) + 1) for own in eni.primary)
    node.attach(device, eni, addresses)
    return node.add(f"pod-{eni.name}", eni, *addresses).namespace


@pytest.mark.parametrize("datapath", MODES)
def test_the_node_itself_reaches_what_it_did(node: Node, datapath: Datapath) -> None:
    lose_nic(node, datapath)
    for gateway in (neutron.NODES_GATEWAY, "fd99::1"):
        assert node.namespace.ping(gateway)


@pytest.mark.ipvlan
@pytest.mark.parametrize("of_victim", MODES[:3])
@pytest.mark.parametrize("of_missing", LAYER_3)
def test_no_pod_of_a_nic_with_its_name_speaks_as_the_missing_one(
    node: Node, of_missing: Datapath, of_victim: Datapath
) -> None:
    """By IPv6, for which a sender needs no capability (IPV6_FREEBIND).

    Two things keep it from that, each of them alone: the rule is gone, and the chain knows.
    """
    victim = add_pod(node, "ens30", eni_facts("eni-c", 30, of_victim, dual=True))
    lose_nic(node, of_missing)
    pod = add_pod(node, "ens10", eni_facts("eni-b", 20, L3S, dual=True))
    node.look()
    assert pod.ping("fd98::31")

    def attack() -> None:
        pod.run(send_datagram, "fd98::31", b"spoofed", OF_MISSING)

    assert received(pod, attack, "fd98::31", victim) == []
    assert f"from {OF_MISSING} iif lo" not in node.namespace.program("ip", "-6", "rule")
    primaries = ("set", "inet", names.NFT_TABLE, "primaries6")
    assert OF_MISSING in node.namespace.program("nft", "list", *primaries)


@pytest.mark.parametrize("datapath", MODES[:3])
def test_the_missing_ones_egress_chain_does_not_hold_for_a_nic_with_its_name(
    node: Node, datapath: Datapath
) -> None:
    """Chains of the family netdev go by the name."""
    lose_nic(node, datapath)
    pod = add_pod(node, "ens10", allowing_metadata(eni_facts("eni-b", 20, datapath)))
    assert pod.ask(neutron.METADATA, 80)


@pytest.mark.parametrize("datapath", LAYER_3)
def test_an_eni_that_cannot_be_planned_for_once_answers_its_pods_by_ipv6(
    node: Node, datapath: Datapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = add_pod(node, "ens10", eni_facts("eni-a", 10, datapath, dual=True))
    list_rules = ("ip", "-6", "rule")

    def fail(_: Datapath) -> None:
        raise ProgramFailedError("nft got no memory")

    before = node.namespace.program(*list_rules)
    monkeypatch.setattr(modes, "require_support", fail)
    assert node.look().errors.keys() == {"eni-a"}
    assert node.namespace.program(*list_rules) == before
    assert pod.ping("fd98::10")


def test_what_is_wanted_of_an_eni_without_its_nic_may_change(
    network: NeutronNetwork, node: Node
) -> None:
    """That is no repair."""
    blocking = eni_facts("eni", 10, Datapath(Mode.VETH))
    allowing = allowing_metadata(blocking)
    port = node.attach("ens10", allowing, ("10.98.0.11",))
    node.add("pod", allowing, "10.98.0.11")
    network.unplug(port)
    for _ in range(2):
        assert node.look(into=True).repairs == ()
    node.enis = [blocking]
    for _ in range(2):
        assert node.look(into=True).repairs == ()
