"""Look at the node, and plan it as it is: with the NIC that each ENI has now."""

import ipaddress
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, replace

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, IPV6, host_cidr
from openeni_nodeagent.datapath import ownership
from openeni_nodeagent.datapath.filters.chains import given_marks
from openeni_nodeagent.datapath.links import NodeENI, NodePod, pod_on_node
from openeni_nodeagent.datapath.linux import dumps, modes
from openeni_nodeagent.datapath.linux.kernel import (
    observe,
    observe_filters,
    routes_of,
)
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.sysctls import speaks_ipv6
from openeni_nodeagent.datapath.marks import RULES_WITH_MARK, GivenMark, Mark, Marks
from openeni_nodeagent.datapath.model import NOTHING, Address, Link, Rule, State
from openeni_nodeagent.datapath.node.nics import NICs, changed_mac, nics_by_mac
from openeni_nodeagent.datapath.node.plan import NodePlan
from openeni_nodeagent.datapath.node.preconditions.arp_answers import require_arp_answers
from openeni_nodeagent.datapath.node.preconditions.local_rules import require_local_rules
from openeni_nodeagent.datapath.node.preconditions.null_routes import require_way_back
from openeni_nodeagent.datapath.node.preconditions.router_advertisements import (
    require_safe_forwarding,
)
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
    others_rules: tuple[Rule, ...]
    nics: Mapping[str, int]  # indexes, by MAC


def take_snapshot(macs: Collection[str]) -> KernelSnapshot:
    """Look at the kernel, and at everybody's routes of the NICs with these MACs."""
    with Netlink() as netlink:
        rules = tuple(dumps.rules(netlink))
        state = observe(netlink, rules)
        nics = nics_by_mac(state, macs)
        for nic in nics.values():
            state |= routes_of(netlink, nic.index)
            state = ownership.with_routed_addresses(state, nic)
    others_rules = tuple(rule for rule in rules if rule.protocol != names.PROTOCOL)
    state |= observe_filters()
    indexes = {mac: nic.index for mac, nic in nics.items()}
    return KernelSnapshot(state, ownership.pods(state), mappings_in(state), others_rules, indexes)


def place(
    snapshot: KernelSnapshot, wanted: WantedNode, marks: Marks, given: Mapping[int, GivenMark]
) -> tuple[NodePlan, Mapping[str, DatapathError]]:
    """Return the plan of the node, and by name the errors of ENIs that get no pods now.

    Pods may run on such an ENI. Without its filters a NIC that is up is a way into the node, and
    what pods send would leave by the node's own NIC, or by another ENI. So it is planned as any
    other. While it has no NIC, something holds its pods' packets (`NodePlan.held`). Without a mark
    there are no filters, so its NIC is down. Somebody else's NIC with its MAC is none of its.
    `given` are the marks of tables from before, which they keep although somebody has flushed the
    rules: chains set them, and tell a new agent.
    """
    seen = snapshot.state
    given = given_marks(seen) | dict(given)
    node, nics = find_nics(seen, wanted)
    tables = _former_tables(seen, sorted(wanted.enis, key=lambda eni: eni.name in nics.of), given)
    with_nics = [(facts, nics.of[facts.name]) for facts in wanted.enis if facts.name in nics.of]
    rules = _rules_with_marks(seen, given)
    of_node = node, snapshot.others_rules
    enis, marked, errors = _with_marks(with_nics, of_node, rules, tables, marks)
    errors |= {eni.name: nics.errors[eni.name] for eni in wanted.enis if eni.name in nics.errors}
    missing = tuple(eni for eni in wanted.enis if eni.name not in {*nics.of, *nics.errors})
    errors |= {facts.name: _no_nic(facts, nics) for facts in missing}
    closed = _closed(wanted, nics, {eni.facts.name for eni in enis})
    changed = {mac: nic for mac, nic in nics.changed.items() if mac not in closed}
    is_used = bool(enis or wanted.pods) or not wanted.strays >= snapshot.pods.keys()
    families = frozenset({IPV4, IPV6} if speaks_ipv6() else {IPV4})
    former = _former_enis(
        _former_links(missing, changed, tables),
        of_node,
        lambda table, others: _mark(table, marked, (*enis, *others), marks),
    )
    plan = NodePlan(
        plan_node(families, marks, node) if is_used else NOTHING,
        enis,
        closed,
        missing,
        changed,
        former,
        _pods((pod.interface for pod in wanted.pods), enis, seen),
        wanted.strays,
        wanted.used_links,
        {eni.table: GivenMark(eni.mark, eni.facts.mac) for eni in (*enis, *former)},
    )
    return plan, errors


def find_nics(seen: State, wanted: WantedNode) -> tuple[NodeFacts, NICs]:
    """Return the node with the addresses that it has now, and the NICs of its ENIs."""
    node = _with_present_addresses(wanted, seen)
    return node, NICs(seen, (*wanted.departing, *wanted.enis), node)


def _closed(wanted: WantedNode, nics: NICs, placed: AbstractSet[str]) -> dict[str, Link]:
    """Return NICs by MAC, of ENIs that openeni leaves, or has no mark for.

    One that is left need not have its MAC.
    """
    left = wanted.departing
    return {facts.mac: nics.changed[facts.mac] for facts in left if facts.mac in nics.changed} | {
        facts.mac: nics.of[facts.name]
        for facts in (*left, *wanted.enis)
        if facts.name in nics.of.keys() - placed
    }


def _with_marks(
    nics: Iterable[tuple[ENIFacts, Link]],
    of_node: tuple[NodeFacts, Sequence[Rule]],
    marked: State,
    tables: Mapping[str, Collection[int]],
    marks: Marks,
) -> tuple[tuple[NodeENI, ...], State, dict[str, DatapathError]]:
    """Return the ENIs for which there is a mark, the rules as of these, and all errors by name."""
    enis: list[NodeENI] = []
    errors: dict[str, DatapathError] = {}
    for facts, nic in nics:
        table = names.eni_table(nic.index)
        moved = _moved(marked, tables.get(facts.mac, ()), table)
        try:
            mark = _mark(table, moved, enis, marks)
        except DatapathError as error:
            errors[facts.name] = error
            continue
        eni, error_of_eni = _eni(facts, LinkFacts(nic.name, nic.index), *of_node, mark)
        if error_of_eni:
            errors[facts.name] = error_of_eni
        enis.append(eni)
        marked = moved
    return tuple(enis), marked, errors


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
    enis: Iterable[ENIFacts], changed: Mapping[str, Link], tables: Mapping[str, Collection[int]]
) -> Iterator[tuple[ENIFacts, LinkFacts]]:
    """Yield the links that ENIs have with another MAC, and those that they had, without a name."""
    for facts in enis:
        if nic := changed.get(facts.mac):
            yield facts, LinkFacts(nic.name, nic.index)
        for table in sorted(tables.get(facts.mac, ())):
            yield facts, LinkFacts("", table - names.TABLE_ENI_BASE)


def _former_enis(
    links: Iterable[tuple[ENIFacts, LinkFacts]],
    of_node: tuple[NodeFacts, Sequence[Rule]],
    mark_of: Callable[[int, Iterable[NodeENI]], Mark],
) -> tuple[NodeENI, ...]:
    """Return the ENIs as they were, by their links; `mark_of` is given others that have a mark."""
    found: list[NodeENI] = []
    for facts, link in links:
        with suppress(DatapathError):  # no mark is free: what is left of it stays as it is
            mark = mark_of(names.eni_table(link.ifindex), found)
            eni, _ = _eni(facts, link, *of_node, mark)
            found.append(eni)
    return tuple(found)


def _rules_with_marks(seen: State, given: Mapping[int, GivenMark]) -> State:
    """Return the rules from which marks follow; of tables without, by the marks given before."""
    found = {i for i in seen if isinstance(i, Rule) and i.priority in RULES_WITH_MARK}
    without = given.keys() - {rule.table for rule in found}
    return frozenset(found | {_rule_with_mark(table, given[table].mark) for table in without})


def _rule_with_mark(table: int, mark: Mark) -> Rule:
    return Rule(IPV4, names.RULE_FROM_POD, table, mark=mark.value, mask=mark.mask)


def _eni(
    facts: ENIFacts, link: LinkFacts, node: NodeFacts, others_rules: Sequence[Rule], mark: Mark
) -> tuple[NodeENI, DatapathError | None]:
    """Return the ENI with the name and index that its NIC has now, and why it gets no pods.

    What cannot be tried of the kernel now is planned: a chain that is in force must not go.
    """
    has_ipv6 = speaks_ipv6()
    eni = NodeENI(facts, link, node, mark, kernel_has_ipv6=has_ipv6)
    errors: list[DatapathError] = []
    if link.device.startswith(names.LINK_PREFIX):  # by which filters know what pods send
        errors.append(
            DatapathError(
                f"NIC {link.device} has a name as openeni gives to pods' links, "
                f"{names.LINK_PREFIX}*: give it another one, where udev gets it from"
            )
        )
    if IPV6 in eni.families and has_ipv6:
        try:
            require_safe_forwarding()
        except DatapathError as error:
            eni = replace(eni, may_forward_ipv6=False)
            errors.append(error)
    try:
        eni = replace(eni, has_egress_hook=modes.has_egress_hook())
        eni = replace(eni, has_flow_offload=modes.has_flow_offload())
        modes.require_support(facts.datapath)
        if IPV4 in eni.families and eni.ipvlan and eni.layer_2:
            require_arp_answers()
        if not eni.layer_3:  # ipvlan leads what is for the node to it
            families = (f for f in eni.families if f == IPV4 or has_ipv6)
            require_local_rules(families, others_rules)
        if eni.answers_for_pods:
            require_way_back(facts.subnets, others_rules)
    except DatapathError as error:
        errors.append(error)
    return eni, next(iter(errors), None)


def _no_nic(facts: ENIFacts, nics: NICs) -> DatapathError:
    if nic := nics.changed.get(facts.mac):
        why = nics.why_mac_stays(facts) or "it gets it back with the next look"
        return DatapathError(f"{changed_mac(facts, nic)}: {why}")
    return NICMissingError(f"no NIC with MAC {facts.mac} on this node: is it attached?")


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
