"""Look at the node, and plan it as it is: with the NIC that each ENI has now."""

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6, host_cidr
from openeni_nodeagent.datapath import ownership
from openeni_nodeagent.datapath.filters.chains import ENI_CHAIN, given_marks
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath.linux.kernel import (
    observe,
    observe_filters,
    routes_of,
)
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.sysctls import speaks_ipv6
from openeni_nodeagent.datapath.marks import RULES_WITH_MARK, GivenMark, Mark, Marks
from openeni_nodeagent.datapath.model import NOTHING, Address, Chain, Link, Rule, State
from openeni_nodeagent.datapath.node.arp_answers import require_arp_answers
from openeni_nodeagent.datapath.node.nics import NICs
from openeni_nodeagent.datapath.node.plan import NodePlan
from openeni_nodeagent.datapath.node.router_advertisements import require_safe_forwarding
from openeni_nodeagent.datapath.options.host_ports import mappings_in
from openeni_nodeagent.datapath.plan import plan_node
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    LinkFacts,
    NICMissingError,
    NodeFacts,
    PodInterface,
    WantedNode,
)
from openeni_nodeagent.pod_options import PortMapping


@dataclass(frozen=True)
class KernelSnapshot:
    """Holds what the kernel had of openeni at one time."""

    state: State
    pods: Mapping[str, str]
    host_ports: Mapping[str, tuple[PortMapping, ...]]


def take_snapshot(macs: Iterable[str]) -> KernelSnapshot:
    """Look at the kernel; of the NICs with these MACs, at everybody's routes."""
    with Netlink() as netlink:
        state = observe(netlink)
        nics = [nic for mac in macs if (nic := ownership.find_nic(state, mac))]
        for nic in nics:
            state |= routes_of(netlink, nic.index)
    state |= observe_filters()
    return KernelSnapshot(state, ownership.pods(state), mappings_in(state))


def place(
    snapshot: KernelSnapshot, wanted: WantedNode, marks: Marks, given: Mapping[int, GivenMark]
) -> tuple[NodePlan, Mapping[str, DatapathError]]:
    """Return the plan of the node, and by name the errors of ENIs that cannot be served now.

    What an ENI of the latter has is left as it is, but for what keeps the packets of its pods from
    leaving by the node's own NIC, or by another ENI (`NodePlan.held`). Somebody else's NIC with its
    MAC is none of its. `given` are the marks of tables from before, which they keep although
    somebody has flushed the rules: chains set them, and tell a new agent.
    """
    seen = snapshot.state
    given = given_marks(seen) | dict(given)
    marked = _rules_with_marks(seen, given)
    node = _with_present_addresses(wanted, seen)
    enis: list[NodeENI] = []
    nics = NICs(seen, (*wanted.departing, *wanted.enis), node)
    errors = {eni.name: nics.errors[eni.name] for eni in wanted.enis if eni.name in nics.errors}
    left: list[tuple[ENIFacts, Link | None]] = []
    tables = _former_tables(seen, sorted(wanted.enis, key=lambda eni: eni.name in nics.of), given)
    for facts in (eni for eni in wanted.enis if eni.name not in nics.errors):
        nic = nics.of.get(facts.name)
        try:
            table = names.eni_table(nic.index if nic else 0)
            moved = _moved(marked, tables.get(facts.mac, frozenset()), table)
            enis.append(_eni(facts, nic, node, _mark(table, moved, enis, marks)))
            marked = moved
        except DatapathError as error:
            errors[facts.name] = error
            left.append((facts, nic))
    is_used = bool(enis or wanted.pods) or not wanted.strays >= snapshot.pods.keys()
    families = frozenset({IPV4, IPV6} if speaks_ipv6() else {IPV4})
    unplanned = {nic.index: facts for facts, nic in left if nic}
    former = _former_enis(
        _former_links(left, tables, _tables(seen | marked)),
        node,
        lambda table, others: _mark(table, marked, (*enis, *others), marks),
    )
    plan = NodePlan(
        plan_node(families, marks, node) if is_used else NOTHING,
        tuple(enis),
        {facts.mac: nics.of[facts.name] for facts in wanted.departing if facts.name in nics.of},
        unplanned,
        tuple(facts for facts, nic in left if nic is None),
        former,
        _pods((pod.interface for pod in wanted.pods), enis, seen),
        wanted.strays,
        wanted.used_links,
        {table: of for table, of in given.items() if table in map(names.eni_table, unplanned)}
        | {eni.table: GivenMark(eni.mark, eni.facts.mac) for eni in (*enis, *former)},
    )
    return plan, errors


def _mark(table: int, seen: State, others: Iterable[NodeENI], marks: Marks) -> Mark:
    """Return the mark of an ENI's table, which is no other ENI's."""
    given = frozenset(_rule_with_mark(eni.table, eni.mark) for eni in others)
    return marks.of_table(seen | given, table)


def _former_tables(
    seen: State, enis: Iterable[ENIFacts], given: Mapping[int, GivenMark]
) -> Mapping[str, frozenset[int]]:
    """Return the tables that ENIs had under indexes that no link has now, by MAC.

    Their rules say so, or, once somebody has flushed these, the marks given before. Of two with one
    primary address, the last one of `enis` has the rules.
    """
    by_primary = {host_cidr(address): facts.mac for facts in enis for address in facts.primary}
    present = {names.eni_table(i.index) for i in seen if isinstance(i, Link)}
    owners = {table: of.mac for table, of in given.items() if table not in present}
    found: dict[str, frozenset[int]] = {}
    for table, mac in (owners | ownership.former_tables(seen, by_primary)).items():
        found[mac] = found.get(mac, frozenset()) | {table}
    return found


def _moved(marked: State, tables: Collection[int], table: int) -> State:
    """Return the rules with those of an ENI's former tables as its present one's: its mark stays.

    There may be no other one that is free.
    """
    return frozenset(
        replace(i, table=table) if isinstance(i, Rule) and i.table in tables else i for i in marked
    )


def _former_links(
    left: Iterable[tuple[ENIFacts, Link | None]],
    tables: Mapping[str, Collection[int]],
    in_use: Collection[int],
) -> Iterator[tuple[ENIFacts, LinkFacts]]:
    """Yield ENIs that cannot be served now with each link under which something is left of them.

    `in_use` are the tables that anything leads to. Nothing does to that of one never served.
    """
    for facts, nic in left:
        for table in sorted(tables.get(facts.mac, ())):
            yield facts, LinkFacts("", table - names.TABLE_ENI_BASE)
        if nic and names.eni_table(nic.index) in in_use:
            yield facts, LinkFacts(nic.name, nic.index)


def _tables(seen: State) -> frozenset[int]:
    """Return the tables to which rules lead, or chains with the marks that rules had."""
    indexes = {i.name.removeprefix(ENI_CHAIN) for i in seen if isinstance(i, Chain)}
    by_chain = {names.eni_table(int(index)) for index in indexes if index.isdigit()}
    return frozenset(by_chain | {i.table for i in seen if isinstance(i, Rule)})


def _former_enis(
    links: Iterable[tuple[ENIFacts, LinkFacts]],
    node: NodeFacts,
    mark_of: Callable[[int, Iterable[NodeENI]], Mark],
) -> tuple[NodeENI, ...]:
    """Return the ENIs as they were; `mark_of` is given a table, and others that have a mark."""
    found: list[NodeENI] = []
    for facts, link in links:
        with suppress(DatapathError):  # no mark is free: what is left of it stays as it is
            mark = mark_of(names.eni_table(link.ifindex), found)
            found.append(_node_eni(facts, link, node, mark))
    return tuple(found)


def _rules_with_marks(seen: State, given: Mapping[int, GivenMark]) -> State:
    """Return the rules from which marks follow; of tables without, by the marks given before."""
    found = {i for i in seen if isinstance(i, Rule) and i.priority in RULES_WITH_MARK}
    without = given.keys() - {rule.table for rule in found}
    return frozenset(found | {_rule_with_mark(table, given[table].mark) for table in without})


def _rule_with_mark(table: int, mark: Mark) -> Rule:
    return Rule(IPV4, names.RULE_FROM_POD, table, mark=mark.value, mask=mark.mask)


def _eni(facts: ENIFacts, nic: Link | None, node: NodeFacts, mark: Mark) -> NodeENI:
    """Return the ENI with the name and index that its NIC has now. Raises DatapathError."""
    modes.require_support(facts.datapath)
    if nic is None:
        raise NICMissingError(f"no NIC with MAC {facts.mac} on this node: is it attached?")
    eni = _node_eni(facts, LinkFacts(nic.name, nic.index), node, mark)
    if IPV6 in eni.families and speaks_ipv6():
        require_safe_forwarding()
    if IPV4 in eni.families and eni.ipvlan and eni.layer_2:
        require_arp_answers()
    return eni


def _node_eni(facts: ENIFacts, link: LinkFacts, node: NodeFacts, mark: Mark) -> NodeENI:
    return NodeENI(
        facts,
        link,
        node,
        mark,
        has_egress_hook=modes.has_egress_hook(),
        has_flow_offload=modes.has_flow_offload(),
        kernel_has_ipv6=speaks_ipv6(),
    )


def _pods(
    pods: Iterable[PodInterface], enis: Iterable[NodeENI], seen: State
) -> tuple[NodePod, ...]:
    """Return the pods of these ENIs, with the indexes that the host's ends of their pairs have."""
    by_eni = {(eni.facts.name, eni.facts.mac): eni for eni in enis}
    indexes = {i.name: i.index for i in seen if isinstance(i, Link)}
    owners = ((pod, by_eni.get((pod.eni.name, pod.eni.mac))) for pod in pods)
    placed = (pod_on_node(pod, eni) for pod, eni in owners if eni)
    return tuple(
        replace(pod, host_index=indexes.get(pod.host_link, pod.host_index)) for pod in placed
    )


def _with_present_addresses(wanted: WantedNode, seen: State) -> NodeFacts:
    """Drop node addresses that no link has, and those that are an ENI's primary address."""
    present = {i.address for i in seen if isinstance(i, Address) and i.confirmed}
    own = present - {a for eni in (*wanted.enis, *wanted.departing) for a in eni.primary}
    addresses = (str(ipaddress.ip_address(a)) for a in wanted.node.addresses)
    return replace(wanted.node, addresses=tuple(a for a in addresses if a in own))
