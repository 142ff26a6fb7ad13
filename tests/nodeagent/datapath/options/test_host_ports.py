"""The plan of host ports: which members of which maps, by address, family and mode."""

from dataclasses import replace

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import NOTHING, Element, Sysctl
from openeni_nodeagent.datapath.options.host_ports import host_port_items, mappings_in
from openeni_nodeagent.datapath.plan import plan_node, plan_pod
from openeni_nodeagent.datapath_api import LinkFacts, NodeFacts
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network.node import eni_facts, pod_interface

MARKS = Marks(names.MARK_MASK)
NODE = NodeFacts(("10.99.0.11", "fd99::11"))
VETH = Datapath(Mode.VETH)
L2, L3S = (Datapath(Mode.IPVLAN, IPVlanDatapath(m)) for m in (IPVlanMode.L2, IPVlanMode.L3S))
TCP, UDP, SCTP = Transport.TCP, Transport.UDP, Transport.SCTP
DUAL, V4 = ("10.98.0.11", "fd98::11"), ("10.98.0.11",)


def place(datapath: Datapath, *ports: PortMapping, addresses: tuple[str, ...] = DUAL) -> NodePod:
    eni = eni_facts("eni", 10, datapath, dual=len(addresses) > 1)
    mark = MARKS.of_table(NOTHING, names.eni_table(7))
    facts = replace(pod_interface("pod", eni, *addresses), host_ports=ports)
    return pod_on_node(facts, NodeENI(eni, LinkFacts("ens7", 7), NODE, mark))


def members(pod: NodePod) -> set[tuple[str, str, str]]:
    """Return the members of maps of host ports."""
    found = (i for i in host_port_items(pod) if isinstance(i, Element))
    return {(i.name, i.key, i.value) for i in found if not i.name.startswith("hairpins")}


def sysctls(pod: NodePod) -> set[str]:
    return {i.path for i in host_port_items(pod) if isinstance(i, Sysctl)}


@pytest.mark.parametrize("datapath", [VETH, L2, L3S])
def test_a_port_of_every_address_is_in_the_map_of_each_family(datapath: Datapath) -> None:
    assert members(place(datapath, PortMapping(8080, 80, TCP))) == {
        ("anyports4", "tcp . 8080", "10.98.0.11 . 80"),
        ("anyports6", "tcp . 8080", "fd98::11 . 80"),
    }


@pytest.mark.parametrize(
    ("host_ip", "found"),
    [
        ("0.0.0.0", ("anyports4", "sctp . 9", "10.98.0.11 . 1")),  # noqa: S104 - of a pod
        ("::", ("anyports6", "sctp . 9", "fd98::11 . 1")),
        ("10.99.0.11", ("hostports4", "10.99.0.11 . sctp . 9", "10.98.0.11 . 1")),
        ("fd99::11", ("hostports6", "fd99::11 . sctp . 9", "fd98::11 . 1")),
    ],
)
def test_a_port_of_one_address_or_family_is_in_one_map(
    host_ip: str, found: tuple[str, str, str]
) -> None:
    assert members(place(VETH, PortMapping(9, 1, SCTP, host_ip))) == {found}


def test_a_port_of_a_family_that_the_pod_has_not_is_nowhere() -> None:
    pod = place(VETH, PortMapping(9, 1, TCP, "::"), addresses=V4)
    assert host_port_items(pod) == set()


@pytest.mark.parametrize("datapath", [VETH, L2, L3S])
def test_a_pod_without_host_ports_has_nothing(datapath: Datapath) -> None:
    assert host_port_items(place(datapath)) == set()


def test_a_veth_pod_reaches_itself_as_its_enis_address_and_others_need_nothing() -> None:
    hairpins = {
        Element("hairpins4", "10.98.0.11 . 10.98.0.11", "10.98.0.10"),
        Element("hairpins6", "fd98::11 . fd98::11", "fd98::10"),
    }
    port = PortMapping(8080, 80, TCP)
    assert hairpins <= host_port_items(place(VETH, port))
    for datapath in (L2, L3S):
        items = host_port_items(place(datapath, port))
        assert not any(isinstance(i, Element) and i.name.startswith("hairpins") for i in items)


@pytest.mark.parametrize(
    ("host_ip", "is_set"),
    [("", True), ("0.0.0.0", True), ("127.0.0.1", True), ("10.99.0.11", False), ("::", False)],  # noqa: S104
)
def test_links_accept_the_nodes_loopback_where_a_host_port_has_it(
    host_ip: str, is_set: bool
) -> None:
    port, path = PortMapping(1, 1, TCP, host_ip), "net/ipv4/conf/{}/route_localnet"
    veth, l2, l3s = (place(d, port) for d in (VETH, L2, L3S))
    assert sysctls(veth) == ({path.format(veth.host_link)} if is_set else set())
    assert sysctls(l3s) == ({path.format("oeni-7")} if is_set else set())
    assert sysctls(l2) == ({path.format("oeni-7"), path.format("ens7")} if is_set else set())


def test_the_kernels_maps_say_what_was_mapped() -> None:
    """An agent whose journal is lost has nothing else to know a pod's host ports by."""
    ports = (
        PortMapping(1, 11, TCP),
        PortMapping(2, 12, UDP, "127.0.0.1"),
        PortMapping(3, 13, SCTP, "fd99::11"),
    )
    pod = place(VETH, *ports)
    found = mappings_in(plan_pod(pod).host)
    again = place(VETH, *(port for one in found.values() for port in one))
    assert plan_pod(again) == plan_pod(pod)
    foreign = Element("anyports4", "17777 . 1", "10.98.0.11 . 1")
    assert mappings_in(frozenset({foreign})) == {}


def test_the_nodes_rules_are_the_same_for_any_number_of_ports() -> None:
    families = frozenset({4, 6})
    ports = (PortMapping(number, 80, UDP) for number in range(1, 500))
    assert not any("chain" in type(i).__name__.lower() for i in host_port_items(place(L2, *ports)))
    text = "".join(str(i) for i in plan_node(families, MARKS, NODE))
    assert "10.98.0.11" not in text


def test_what_comes_from_the_nodes_loopback_gets_the_nodes_address() -> None:
    def source(*addresses: str) -> bool:
        planned = plan_node(frozenset({4, 6}), MARKS, NodeFacts(addresses))
        return "snat ip to 10.99.0.11" in str(planned)

    assert source("fd99::11", "10.99.0.11")
    assert not source("fd99::11")
