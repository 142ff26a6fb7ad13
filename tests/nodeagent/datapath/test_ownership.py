"""Whose an item in the kernel is: exactly one's, and never ours where it is somebody else's."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath import ownership
from openeni_nodeagent.datapath.eni import plan_eni
from openeni_nodeagent.datapath.links import NodeENI, NodePod, chosen_index, pod_on_node
from openeni_nodeagent.datapath.marks import Mark, Marks
from openeni_nodeagent.datapath.model import (
    IPVLAN,
    NIC,
    TABLE_MAIN,
    Address,
    Element,
    FlowtableLink,
    Item,
    Link,
    Neighbour,
    Route,
    Rule,
    State,
    Sysctl,
)
from openeni_nodeagent.datapath.node.compare import divide
from openeni_nodeagent.datapath.node.plan import (
    SHARED,
    STALE_ENIS,
    NodePlan,
    eni_part,
    pod_part,
)
from openeni_nodeagent.datapath.plan import plan_node, plan_pod
from openeni_nodeagent.datapath_api import LinkFacts, NodeFacts
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network.node import eni_facts, pod_interface

MODES = (Datapath(Mode.VETH), *(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)) for mode in IPVlanMode))
NODE = NodeFacts(("10.99.0.11", "fd99::11"), ("10.96.0.0/16",), ("169.254.20.10",))
NODE_PLAN = plan_node(frozenset({4, 6}), Marks(names.MARK_MASK), NODE)
each_mode = pytest.mark.parametrize("datapath", MODES, ids=lambda datapath: datapath.word)


def pod_on(datapath: Datapath, number: int, device: LinkFacts) -> NodePod:
    """A pod alone on an ENI; their addresses end in `number` and the next."""
    eni = eni_facts(f"eni-{number}", number, datapath, dual=True)
    addresses = (f"10.98.0.{number + 1}", f"fd98::{number + 1}")
    ports = tuple(
        PortMapping(8000 + number, 80, transport, host_ip)
        for transport in Transport
        for host_ip in ("", *NODE.addresses)
    )
    pod = replace(pod_interface(f"pod-{number}", eni, *addresses), host_ports=ports)
    mark = Mark((number // 10 + 1) << 16, names.MARK_MASK)
    return pod_on_node(pod, NodeENI(eni, device, NODE, mark))


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
                Address(7, "fe80::1", 64),
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
        return without_sysctls(NODE_PLAN) | enis | pods | self.foreign


@cache
def node_of(datapath: Datapath) -> Node:
    first = pod_on(datapath, 10, LinkFacts("ens7", 7))
    return Node(first, pod_on(datapath, 20, LinkFacts("ens8", 8)))


def without_sysctls(state: State) -> State:
    return frozenset(i for i in state if not isinstance(i, Sysctl))


def part_of(node: Node, drawn: st.DataObject) -> State:
    """Draw any part of it: what a crash, a person or a reboot may leave."""
    return drawn.draw(st.frozensets(st.sampled_from(sorted(node.everything, key=str))))


def parts_of(
    state: State, *pods: NodePod, granted: tuple[NodePod, ...] = ()
) -> Mapping[str, State]:
    """Divide a state as the node's reconcile does, with these pods and their ENIs wanted."""
    links = frozenset(pod.host_link for pod in (*pods, *granted))
    enis = tuple(pod.eni for pod in pods)
    plan = NodePlan(NODE_PLAN, enis, {}, (), {}, (), pods, frozenset(), links, {})
    return defaultdict(frozenset, divide(state, plan))


def without_link_7(state: State) -> State:
    """Return what the kernel leaves of a state when it removes a link, and slaves with it."""
    gone = {7} | {i.index for i in state if isinstance(i, Link) and i.parent == 7}
    return frozenset(i for i in state if getattr(i, "index", 0) not in gone)


def whose(state: State, pod: NodePod) -> State:
    return ownership.of_pod(state, pod.facts.addresses, pod.host_link)


@each_mode
@given(drawn=st.data())
def test_of_any_part_of_a_nodes_state_each_owner_gets_what_it_planned(
    datapath: Datapath, drawn: st.DataObject
) -> None:
    node = node_of(datapath)
    state = part_of(node, drawn)
    parts = parts_of(state, node.first, node.second)
    assert parts[SHARED] == without_sysctls(NODE_PLAN) & state
    for pod in (node.first, node.second):
        eni = pod.eni
        offload = {FlowtableLink(pod.host_link)} & state  # which nothing else is to wait for
        assert whose(state, pod) == (without_sysctls(plan_pod(pod).host) & state) - offload
        assert parts[pod_part(pod.facts)] == whose(state, pod) | offload
        found = parts[eni_part(eni.facts.mac)]
        links = {i.index for i in state if isinstance(i, Link)}
        # An address is known to be a slave's by its link; without the link it is gone, too.
        gone = set(map(chosen_index, eni.host_slaves)) - links
        on_slaves = {i for i in state if isinstance(i, Address) and i.index in gone}
        assert found == (node.eni(pod) & state) - on_slaves


@each_mode
@given(drawn=st.data())
def test_an_eni_never_gets_what_is_somebody_elses(datapath: Datapath, drawn: st.DataObject) -> None:
    node = node_of(datapath)
    state = part_of(node, drawn)
    others = node.eni(node.second) | plan_pod(node.second).host | node.foreign
    served = parts_of(state, node.first, node.second)[eni_part(node.first.eni.facts.mac)]
    unwanted = parts_of(state, node.second, granted=(node.first,))[STALE_ENIS]
    for found in (served, unwanted):
        assert not found & (others | NODE_PLAN | plan_pod(node.first).host)


def is_of_answers(item: Item) -> bool:
    """Return True for the rule that leads to the table of all pods."""
    return isinstance(item, Rule) and item.priority == names.RULE_ANSWER_V6


@each_mode
def test_an_eni_without_its_nic_is_found_by_the_rule_of_its_primary_address(
    datapath: Datapath,
) -> None:
    node = node_of(datapath)
    eni = node.first.eni
    state = without_link_7(node.everything)
    left = parts_of(state, node.second)[STALE_ENIS]
    kept = {i for i in state if isinstance(i, Rule | Route) and i.table == eni.table}
    answers = {i for i in plan_eni(eni) if is_of_answers(i)}
    chains = {i for i in plan_eni(eni) if getattr(i, "name", "").startswith("eni7")}
    members = {i for i in plan_eni(eni) if isinstance(i, Element | FlowtableLink)}
    assert kept
    assert chains
    assert members
    assert left == kept | answers | chains | members
    assert parts_of(state - left, node.second)[STALE_ENIS] == frozenset()


@each_mode
def test_an_eni_that_was_plugged_again_owns_what_it_had_under_its_former_index(
    datapath: Datapath,
) -> None:
    node = node_of(datapath)
    former, facts = node.first.eni, node.first.eni.facts
    again = replace(former, link=LinkFacts("ens7", 70))
    gone = without_link_7(node.everything)
    nic = Link("ens7", 70, NIC, facts.mac, facts.mtu)
    pods = (replace(node.first, eni=again), node.second)
    left = parts_of(gone | {nic}, *pods)[eni_part(facts.mac)] - {nic}
    assert left == parts_of(gone, node.second)[STALE_ENIS]
    same = {i for i in left & plan_eni(again) if not is_of_answers(i)}
    # Its addresses and its name are the same.
    kept = {Element, *([FlowtableLink] if again.offloads else [])}
    assert {type(i) for i in same} == kept
    # Another NIC may have got that index meanwhile: then the table is that one's.
    other = Link("ens9", 7, NIC, "fa:16:3e:98:00:63", 1450)
    taken = parts_of(gone | {nic, other}, *pods)[eni_part(facts.mac)] - {nic}
    assert {type(i) for i in taken} == {Rule, *kept}
    rules = {i for i in taken if isinstance(i, Rule) and i.oif != nic.name}
    assert {i.priority for i in rules} == {names.RULE_FROM_ENI}


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


def test_what_a_dhcp_client_adds_to_an_eni_later_belongs_to_the_eni() -> None:
    lease = Route("198.51.100.0/24", TABLE_MAIN, 7, protocol=16)
    mine = Route("198.51.100.0/24", TABLE_MAIN, 7, protocol=names.PROTOCOL)
    pod = node_of(MODES[0]).first
    assert parts_of(frozenset({lease, mine}), pod)[eni_part(pod.eni.facts.mac)] == {lease}
