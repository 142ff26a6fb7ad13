"""Look at the node, and plan it as it is: with the NIC that each ENI has now."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6, host_cidr
from openeni_nodeagent.datapath import ownership
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux import modes
from openeni_nodeagent.datapath.linux.kernel import (
    observe,
    observe_filters,
    routes_of,
)
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.sysctls import speaks_ipv6
from openeni_nodeagent.datapath.marks import RULES_WITH_MARK, Mark, Marks
from openeni_nodeagent.datapath.model import NOTHING, Address, Link, Rule, State
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
    snapshot: KernelSnapshot, wanted: WantedNode, marks: Marks, given: Mapping[int, Mark]
) -> tuple[NodePlan, Mapping[str, DatapathError]]:
    """Return the plan of the node, and by name the errors of ENIs that cannot be served now.

    What an ENI of the latter has is left as it is. Its NIC may be gone: then its rules and its
    table keep what its pods send from leaving by the node's own NIC. `given` are the marks of
    tables from before, which they keep although somebody has flushed the rules: chains set them.
    """
    seen = snapshot.state
    marked = _rules_with_marks(seen, given)
    node = _with_present_addresses(wanted, seen)
    enis: list[NodeENI] = []
    errors: dict[str, DatapathError] = {}
    unplanned: dict[int, ENIFacts] = {}
    missing: list[ENIFacts] = []
    for facts in wanted.enis:
        nic = ownership.find_nic(seen, facts.mac)
        try:
            table = names.eni_table(nic.index if nic else 0)
            enis.append(_eni(facts, nic, node, _mark(table, marked, enis, marks)))
        except DatapathError as error:
            errors[facts.name] = error
            if nic:
                unplanned[nic.index] = facts
            else:
                missing.append(facts)
    departing = {f.mac: ownership.find_nic(seen, f.mac) for f in wanted.departing}
    is_used = bool(enis) or not wanted.strays >= snapshot.pods.keys()
    families = frozenset({IPV4, IPV6} if speaks_ipv6() else {IPV4})
    former = _former(missing, snapshot, node, lambda t, of: _mark(t, marked, [*enis, *of], marks))
    plan = NodePlan(
        plan_node(families, marks, node) if is_used else NOTHING,
        tuple(enis),
        {mac: nic for mac, nic in departing.items() if nic},
        unplanned,
        tuple(missing),
        former,
        _pods((pod.interface for pod in wanted.pods), enis, seen),
        wanted.strays,
        wanted.used_links,
        {table: mark for table, mark in given.items() if table in map(names.eni_table, unplanned)}
        | {eni.table: eni.mark for eni in (*enis, *former)},
    )
    return plan, errors


def _mark(table: int, seen: State, others: Iterable[NodeENI], marks: Marks) -> Mark:
    """Return the mark of an ENI's table, which is no other ENI's."""
    given = frozenset(_rule_with_mark(eni.table, eni.mark) for eni in others)
    return marks.of_table(seen | given, table)


def _former(
    missing: Iterable[ENIFacts],
    snapshot: KernelSnapshot,
    node: NodeFacts,
    mark_of: Callable[[int, Iterable[NodeENI]], Mark],
) -> tuple[NodeENI, ...]:
    """Return ENIs without their NIC as they were with it, if one of their rules still says so.

    `mark_of` is given a table, and other ENIs of these that have a mark.
    """
    by_primary = {host_cidr(address): facts for facts in missing for address in facts.primary}
    found: list[NodeENI] = []
    for table, facts in sorted(ownership.former_tables(snapshot.state, by_primary).items()):
        link = LinkFacts("", table - names.TABLE_ENI_BASE)
        with suppress(DatapathError):  # no mark is free: what is left of it stays as it is
            mark = mark_of(table, found)
            found.append(NodeENI(facts, link, node, mark, kernel_has_ipv6=speaks_ipv6()))
    return tuple(found)


def _rules_with_marks(seen: State, given: Mapping[int, Mark]) -> State:
    """Return the rules from which marks follow; of tables without, by the marks given before."""
    found = {i for i in seen if isinstance(i, Rule) and i.priority in RULES_WITH_MARK}
    without = given.keys() - {rule.table for rule in found}
    return frozenset(found | {_rule_with_mark(table, given[table]) for table in without})


def _rule_with_mark(table: int, mark: Mark) -> Rule:
    return Rule(IPV4, names.RULE_FROM_POD, table, mark=mark.value, mask=mark.mask)


def _eni(facts: ENIFacts, nic: Link | None, node: NodeFacts, mark: Mark) -> NodeENI:
    """Return the ENI with the name and index that its NIC has now. Raises DatapathError."""
    modes.require_support(facts.datapath)
    if nic is None:
        raise NICMissingError(f"no NIC with MAC {facts.mac} on this node: is it attached?")
    link = LinkFacts(nic.name, nic.index)
    eni = NodeENI(
        facts,
        link,
        node,
        mark,
        has_egress_hook=modes.has_egress_hook(),
        kernel_has_ipv6=speaks_ipv6(),
    )
    if IPV6 in eni.families and speaks_ipv6():
        require_safe_forwarding()
    return eni


def _pods(
    pods: Iterable[PodInterface], enis: Iterable[NodeENI], seen: State
) -> tuple[NodePod, ...]:
    """Return the pods of these ENIs, with the indexes that the host's ends of their pairs have."""
    by_mac = {eni.facts.mac: eni for eni in enis}
    indexes = {i.name: i.index for i in seen if isinstance(i, Link)}
    placed = (pod_on_node(pod, by_mac[pod.eni.mac]) for pod in pods if pod.eni.mac in by_mac)
    return tuple(
        replace(pod, host_index=indexes.get(pod.host_link, pod.host_index)) for pod in placed
    )


def _with_present_addresses(wanted: WantedNode, seen: State) -> NodeFacts:
    """Drop node addresses that no link has, and those that are an ENI's primary address."""
    present = {i.address for i in seen if isinstance(i, Address)}
    own = present - {a for eni in (*wanted.enis, *wanted.departing) for a in eni.primary}
    addresses = (str(ipaddress.ip_address(a)) for a in wanted.node.addresses)
    return replace(wanted.node, addresses=tuple(a for a in addresses if a in own))
