"""Whose an item in the kernel is: exactly one's, and never ours where it is somebody else's."""

from dataclasses import dataclass
from functools import cache, cached_property

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath import ownership
from openeni_nodeagent.datapath.eni import plan_eni
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    TABLE_MAIN,
    Address,
    Item,
    Link,
    Neighbour,
    Route,
    Rule,
    State,
    Sysctl,
)
from openeni_nodeagent.datapath.plan import plan_node, plan_pod
from openeni_nodeagent.datapath_api import LinkFacts, NodeFacts
from openeni_testing.network.node import eni_facts, pod_interface

MODES = (Datapath(Mode.VETH), *(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)) for mode in IPVlanMode))
NODE = NodeFacts(("10.99.0.11", "fd99::11"), ("10.96.0.0/16",), ("169.254.20.10",))
each_mode = pytest.mark.parametrize("datapath", MODES, ids=lambda datapath: datapath.word)


def pod_on(datapath: Datapath, number: int, device: LinkFacts) -> NodePod:
    """A pod alone on an ENI; their addresses end in `number` and the next."""
    eni = eni_facts(f"eni-{number}", number, datapath, dual=True)
    addresses = (f"10.98.0.{number + 1}", f"fd98::{number + 1}")
    pod = pod_interface(f"pod-{number}", eni, *addresses)
    return pod_on_node(pod, NodeENI(eni, device, NODE))


@dataclass(frozen=True)
class Node:
    """The state of a node with two ENIs and a pod on each, and foreign items."""

    first: NodePod
    second: NodePod

    @property
    def foreign(self) -> State:
        mac = self.first.eni.facts.mac
        return frozenset(
            {
                Link("eth0", 2, "", "fa:16:3e:99:00:0b", 1500),
                Link("their-slave", 30, IPVLAN, mac, 1500, parent=7),
                Link("docker0", 31, "bridge", "02:42:00:00:00:01", 1500),
                Address(2, "10.99.0.11", 24),
                Address(7, "fe80::1", 64),
                Address(30, "198.51.100.1", 24),
                Route("0.0.0.0/0", TABLE_MAIN, 2, "10.99.0.1", protocol=16),
                Route("10.98.0.0/24", TABLE_MAIN, 7, protocol=2),  # the kernel's, with an address
                Route("10.98.0.10/32", 255, 7, protocol=2),
            }
        )

    @property
    def found_on_first(self) -> State:
        """What an image, or a DHCP client, has put on the ENI: it goes."""
        return frozenset(
            {
                Address(7, "10.98.0.99", 24),
                Route("0.0.0.0/0", TABLE_MAIN, 7, "10.98.0.1", protocol=16),
            }
        )

    def eni(self, pod: NodePod) -> State:
        found = self.found_on_first if pod is self.first else frozenset[Item]()
        return without_sysctls(plan_eni(pod.eni)) | found

    @cached_property
    def everything(self) -> State:
        pods = plan_pod(self.first).host | plan_pod(self.second).host
        enis = self.eni(self.first) | self.eni(self.second)
        return without_sysctls(plan_node(frozenset({4, 6}))) | enis | pods | self.foreign


@cache
def node_of(datapath: Datapath) -> Node:
    first = pod_on(datapath, 10, LinkFacts("ens7", 7))
    return Node(first, pod_on(datapath, 20, LinkFacts("ens8", 8)))


def without_sysctls(state: State) -> State:
    return frozenset(i for i in state if not isinstance(i, Sysctl))


def part_of(node: Node, drawn: st.DataObject) -> State:
    """Draw any part of it: what a crash, a person or a reboot may leave."""
    return drawn.draw(st.frozensets(st.sampled_from(sorted(node.everything, key=str))))


def whose(state: State, pod: NodePod) -> State:
    return ownership.of_pod(state, pod.facts.addresses, pod.host_link)


@each_mode
@given(drawn=st.data())
def test_of_any_part_of_a_nodes_state_each_owner_gets_what_it_planned(
    datapath: Datapath, drawn: st.DataObject
) -> None:
    node = node_of(datapath)
    state = part_of(node, drawn)
    assert ownership.of_node(state) == without_sysctls(plan_node(frozenset({4, 6}))) & state
    for pod in (node.first, node.second):
        eni, ifindex = pod.eni, pod.eni.link.ifindex
        assert whose(state, pod) == plan_pod(pod).host & state
        found = ownership.of_eni(state, ifindex, eni.facts.primary)
        slave = any(isinstance(i, Link) and i.name == eni.host_slave for i in state)
        # An address is known to be a slave's by its link; without the link it is gone, too.
        on_slave = {i for i in state if isinstance(i, Address) and i.index == eni.host_slave_index}
        assert found == (node.eni(pod) & state) - (frozenset() if slave else on_slave)


@each_mode
@given(drawn=st.data())
def test_an_eni_that_is_removed_leaves_only_its_own_and_its_pods_items(
    datapath: Datapath, drawn: st.DataObject
) -> None:
    node = node_of(datapath)
    state = part_of(node, drawn)
    eni = node.first.eni
    left = ownership.left_of_eni(state, eni.link.ifindex, eni.facts.primary)
    assert left >= ownership.of_eni(state, eni.link.ifindex, eni.facts.primary)
    assert left >= {i for i in state if isinstance(i, Rule | Route) and i.table == eni.table}
    others = node.eni(node.second) | plan_pod(node.second).host | node.foreign
    assert not left & (others | plan_node(frozenset({4, 6})))


@each_mode
def test_an_eni_without_its_nic_is_found_by_the_rule_of_its_primary_address(
    datapath: Datapath,
) -> None:
    node = node_of(datapath)
    eni = node.first.eni
    state = frozenset(i for i in node.everything if getattr(i, "index", 0) != 7)
    left = ownership.left_of_eni(state, 0, eni.facts.primary)
    kept = {i for i in state if isinstance(i, Rule | Route) and i.table == eni.table}
    chains = {i for i in plan_eni(eni) if getattr(i, "name", "") == "eni7"}
    assert kept
    assert left == kept | chains
    assert ownership.left_of_eni(state - left, 0, eni.facts.primary) == frozenset()


@each_mode
def test_pods_are_the_addresses_that_have_a_route_with_its_device(datapath: Datapath) -> None:
    node = node_of(datapath)
    found = ownership.pods(node.everything)
    assert set(found) == {*node.first.facts.addresses, *node.second.facts.addresses}
    for pod in (node.first, node.second):
        device = pod.eni.host_slave if pod.eni.ipvlan else pod.host_link
        assert {found[a] for a in pod.facts.addresses} == {device}
    bare = frozenset(i for i in node.everything if not isinstance(i, Link))
    assert set(ownership.pods(bare).values()) == {""}


@each_mode
def test_inside_a_pod_only_its_interface_and_its_addresses_are_ours(datapath: Datapath) -> None:
    pod = node_of(datapath).first
    planned = without_sysctls(plan_pod(pod).pod)
    theirs: State = frozenset(
        {
            Link("lo", 1, "", "", 65536),
            Link("net1", 40, "macvlan", "02:00:00:00:00:40", 1500),
            Address(40, "192.0.2.1", 24),
            Address(pod.pod_index, "198.51.100.1", 32),
            Route("0.0.0.0/0", TABLE_MAIN, 40, "192.0.2.254"),
            Neighbour(40, "192.0.2.254", "02:00:00:00:00:41"),
        }
    )
    found = ownership.of_interface(planned | theirs, "eth0", pod.facts.addresses)
    assert found == planned
    assert ownership.of_interface(theirs, "eth0", pod.facts.addresses) == frozenset()


MAC = "fa:16:3e:00:00:01"


@pytest.mark.parametrize("kind", [IPVLAN, "macvlan", "vlan", "bond", "bridge"])
def test_a_device_on_top_of_the_nic_is_not_taken_for_it(kind: str) -> None:
    above = Link("a-first", 3, kind, MAC, 1500)
    assert ownership.find_nic(frozenset({above}), MAC) is None
    nic = Link("z-last", 9, "", MAC, 1500)
    assert ownership.find_nic(frozenset({above, nic}), MAC) == nic


def test_a_nic_is_found_by_its_mac_in_any_case_and_is_none_of_our_devices() -> None:
    pair = Link("ens9", 9, "veth", MAC, 1500, alias="openeni")
    found = ownership.find_nic(frozenset({pair, Address(9, "10.98.0.5", 32)}), MAC.upper())
    assert found == Link("ens9", 9, "", MAC, 1500)
    assert ownership.find_nic(frozenset({pair}), "fa:16:3e:00:00:02") is None


def test_what_a_dhcp_client_adds_to_an_eni_later_belongs_to_the_eni() -> None:
    lease = Route("198.51.100.0/24", TABLE_MAIN, 7, protocol=16)
    mine = Route("198.51.100.0/24", TABLE_MAIN, 7, protocol=names.PROTOCOL)
    assert ownership.of_eni(frozenset({lease, mine}), 7, ()) == {lease}
