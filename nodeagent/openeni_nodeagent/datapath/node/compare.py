"""Compare the whole node part by part with what was observed. Pure.

Every observed item that is openeni's belongs to one part (`plan`); what belongs to an ENI that is
not wanted is stale. Items of pods that are not wanted are left alone, because an ADD or a DEL may
be working on them; but for strays, addresses of which the caller knows that no pod has them.
"""

from collections import defaultdict
from collections.abc import Mapping

from openeni_crds import names
from openeni_nodeagent.addresses import host_cidr
from openeni_nodeagent.datapath.diff import diff, losing_ipv4, without_flushed
from openeni_nodeagent.datapath.filters.chains import ENI_CHAIN
from openeni_nodeagent.datapath.model import (
    NOTHING,
    VETH,
    Address,
    Chain,
    Element,
    FlowtableLink,
    Item,
    Link,
    Neighbour,
    Operation,
    Qdisc,
    Route,
    Rule,
    State,
    Sysctl,
    Verb,
)
from openeni_nodeagent.datapath.nft_sets import CATCH_ALL, OF_PODS, PRIMARIES, address_in
from openeni_nodeagent.datapath.node.plan import (
    SHARED,
    STALE_ENIS,
    STRAYS,
    Differences,
    NodePlan,
    Part,
    eni_part,
    pod_part,
)
from openeni_nodeagent.datapath.ownership import (
    SHARED_RULES,
    as_nic,
    former_tables,
    is_foreign,
    is_host_slave,
    is_pod_link,
    leads_to_pod,
)


def compare(seen: State, values: Mapping[str, Sysctl], plan: NodePlan) -> Differences:
    """Return what would bring the observed node to its plan; `values` are sysctls by path."""
    observed = divide(seen, plan)
    losing = _losing(observed, plan)
    left_alone = _flushed_of_others(seen, observed, losing, plan)
    found: dict[Part, tuple[Operation, ...]] = {}
    skipped = {eni_part(facts.mac) for facts in plan.missing}
    if skipped and not plan.shared:
        skipped.add(SHARED)
    for part in {*plan.wanted, *observed} - skipped:
        planned = plan.wanted.get(part, NOTHING) | left_alone.get(part, NOTHING)
        there = without_flushed(observed.get(part, NOTHING), losing)
        set_ = frozenset(values[i.path] for i in planned if isinstance(i, Sysctl))
        if operations := diff(there | set_, planned):
            found[part] = operations
    for part, held in plan.held.items():
        there = observed.get(part, NOTHING)
        wrong = {
            i
            for i in there
            if isinstance(i, Rule) and (i.mask or i.priority == names.RULE_WAY_BACK)
        }
        if operations := diff((there & held) | wrong, held):
            found[part] = operations
    return found


def _losing(observed: Mapping[Part, State], plan: NodePlan) -> frozenset[int]:
    """Return the links that lose the last of their IPv4 addresses, which is others'."""
    there = (item for items in observed.values() for item in items)
    kept = (i for part, items in observed.items() for i in items & plan.wanted.get(part, NOTHING))
    return losing_ipv4(there, kept)


def _flushed_of_others(
    seen: State, observed: Mapping[Part, State], losing: frozenset[int], plan: NodePlan
) -> Mapping[Part, State]:
    """Return what would go with addresses of pods that are left alone, by the part of its link.

    It stays as it is: an ADD knows no pod but its own. One that has a DEL at the same time leaves a
    stray.
    """
    found: dict[Part, State] = {}
    if losing:
        links = _pairs(seen) | dict(plan.nics) | _slaves(seen, plan.nics)
        others = seen.difference(*observed.values())
        ours = {i for i in others if isinstance(i, Route | Neighbour) and i.index in links}
        kept = without_flushed(others, losing)
        for item in (i for i in ours - kept if i.protocol == names.PROTOCOL):
            found[links[item.index]] = found.get(links[item.index], NOTHING) | {item}
    return found


def sysctls(plan: NodePlan) -> State:
    """Return every sysctl that the plan has."""
    return frozenset(i for part in plan.wanted.values() for i in part if isinstance(i, Sysctl))


def divide(seen: State, plan: NodePlan) -> Mapping[Part, State]:
    """Return the observed items by part, without those that are left alone or not openeni's."""
    division = _Division(seen, plan)
    parts: dict[Part, set[Item]] = defaultdict(set)
    for item in seen:
        if part := division.part(item):
            is_nic = isinstance(item, Link) and item.index in plan.nics
            parts[part].add(as_nic(item) if is_nic and isinstance(item, Link) else item)
    return {part: frozenset(items) for part, items in parts.items()}


def is_missing_route(operation: Operation) -> bool:
    """Return True for a rule or a route that somebody has taken away."""
    return operation.verb is Verb.ADD and isinstance(operation.item, Rule | Route)


def members(found: Differences, plan: NodePlan, of_eni: Part = "") -> list[Operation]:
    """Return the members that sets of pods lack, of all or of one ENI.

    They are additions alone, and replace nothing: a pod that has a DEL at the same time leaves a
    stray, which no other pod can make use of.
    """
    of_pods = [
        (operation, operation.item)
        for pod in plan.pods
        if of_eni in ("", eni_part(pod.eni.facts.mac))
        for operation in found.get(pod_part(pod.facts), ())
        if isinstance(operation.item, Element) and operation.item.name in OF_PODS
    ]
    wrong = {(item.name, item.key) for o, item in of_pods if o.verb is Verb.REMOVE}
    return [o for o, item in of_pods if (item.name, item.key) not in wrong]


class _Division:
    """Tells the part of each item of one observation."""

    def __init__(self, seen: State, plan: NodePlan) -> None:
        self._plan = plan
        self._links = dict(plan.nics) | _slaves(seen, plan.nics)
        self._former = former_tables(seen, plan.primaries) | {
            eni.table: eni_part(eni.facts.mac) for eni in plan.former
        }
        self._pod_links = {pod.host_link: pod_part(pod.facts) for pod in plan.pods}
        links = (i for i in seen if isinstance(i, Link))
        of_pods = {i.index: p for i in links if (p := self._of_pod(i))}
        self._on_links = _pairs(seen) | self._links | of_pods
        self._by_device = {eni.link.device: eni for eni in plan.enis}
        self._nics = {
            i.name: plan.nics[i.index] for i in seen if isinstance(i, Link) and i.index in plan.nics
        } | {device: eni_part(eni.facts.mac) for device, eni in self._by_device.items()}
        self._of_address = {
            i.address: self._links[i.index]
            for i in seen
            if isinstance(i, Address) and i.index in self._links
        }
        self._leading = {
            i.index: i.destination.partition("/")[0]
            for i in seen
            if isinstance(i, Route) and leads_to_pod(i)
        }

    def part(self, item: Item) -> Part | None:
        """Return the part of an item; None for what is left alone."""
        part: Part | None = None
        match item:
            case Link():
                part = self._part_of_link(item)
            case Address():
                part = self._part_of_address(item)
            case Route():
                part = self._part_of_route(item)
            case Rule():
                part = self._part_of_rule(item)
            case Neighbour() | Element() | FlowtableLink() | Qdisc():
                part = self._part_of_pods_item(item)
            case Chain():
                part = self._part_of_chain(item)
            case Sysctl():
                pass
        return part

    def _part_of_link(self, link: Link) -> Part | None:
        if part := self._links.get(link.index):
            return part
        if is_host_slave(link):
            return STALE_ENIS
        if of_pod := self._of_pod(link):
            return of_pod
        if link.alias != names.LINK_ALIAS or link.kind != VETH:
            return None
        address = self._leading.get(link.index)
        is_left = address is None and link.name not in self._plan.used_links
        return STRAYS if is_left or address in self._plan.strays else None

    def _of_pod(self, link: Link) -> Part | None:
        """Return the pod's part for its link, also for one that somebody gave another alias."""
        is_ours = link.alias == names.LINK_ALIAS or link.kind == VETH
        return self._pod_links.get(link.name) if is_ours else None

    def _part_of_address(self, address: Address) -> Part | None:
        """Return the part of its link; link-local ones of a NIC without IPv6 are the kernel's."""
        part = self._on_links.get(address.index)
        if address.index in self._plan.nics and part and address.address.startswith("fe80:"):
            wanted = self._plan.wanted.get(part, NOTHING)
            has_own = any(isinstance(i, Address) and i.address.startswith("fe80:") for i in wanted)
            return part if has_own else None
        return part

    def _part_of_pods_item(self, item: Neighbour | Element | FlowtableLink | Qdisc) -> Part | None:
        match item:
            case Neighbour():
                return self._plan.addresses.get(item.address)
            case Element():
                return self._part_of_member(item)
            case FlowtableLink():
                return self._part_of_offload(item)
            case Qdisc():
                return self._plan.limited.get(item.index)

    def _part_of_member(self, member: Element) -> Part | None:
        """Return the part that wants a member of its key, or else has its address."""
        if member.key == CATCH_ALL:  # would have rules fit packets of anybody
            return SHARED
        if part := self._plan.members.get((member.name, member.key)):
            return part
        address = address_in(member.name, member.key, member.value)
        if member.name.startswith(PRIMARIES):
            of_link = self._of_address.get(address, STALE_ENIS)
            return self._plan.primaries.get(host_cidr(address), of_link)
        return self._plan.addresses.get(address)

    def _part_of_offload(self, link: FlowtableLink) -> Part | None:
        """Return the part of a link in the flowtable, where its name may be all that is left."""
        if part := self._nics.get(link.device) or self._pod_links.get(link.device):
            return part
        if link.device.startswith(names.LINK_PREFIX):
            return None if link.device in self._plan.used_links else STRAYS
        return STALE_ENIS

    def _part_of_route(self, route: Route) -> Part | None:
        if leads_to_pod(route):
            return self._plan.addresses.get(route.destination.partition("/")[0])
        if route.protocol == names.PROTOCOL:
            return self._part_of_table(route.table)
        return self._on_links.get(route.index) if is_foreign(route) else None

    def _part_of_rule(self, rule: Rule) -> Part | None:
        if rule.priority in SHARED_RULES:
            return SHARED
        if eni := self._by_device.get(rule.oif):
            return eni_part(eni.facts.mac)  # also if it is of one that is missing, and had the name
        of_primary = rule.priority in (names.RULE_FROM_ENI, names.RULE_ANSWER_V6)
        if of_primary and rule.source in self._plan.primaries:
            return self._plan.primaries[rule.source]
        return self._part_of_table(rule.table)

    def _part_of_table(self, table: int) -> Part:
        index = table - names.TABLE_ENI_BASE
        return self._plan.nics.get(index) or self._former.get(table) or STALE_ENIS

    def _part_of_chain(self, chain: Chain) -> Part:
        index = chain.name.removeprefix(ENI_CHAIN).partition("_")[0]
        if not (chain.name.startswith(ENI_CHAIN) and index.isdigit()):
            return SHARED
        part = self._part_of_table(names.TABLE_ENI_BASE + int(index))
        missing = {eni_part(facts.mac) for facts in self._plan.missing}
        is_without_nic = part in missing and int(index) not in self._plan.nics
        # That of a NIC's name would hold for another one that gets it.
        return STALE_ENIS if is_without_nic and chain.family == "netdev" else part


def _pairs(seen: State) -> dict[int, Part]:
    """Return the node's ends of all pairs: of what others put on one, no pod of a plan has any.

    Its pod may have no plan, as while its ENI has no NIC.
    """
    return {i.index: STRAYS for i in seen if isinstance(i, Link) and is_pod_link(i)}


def _slaves(seen: State, nics: Mapping[int, Part]) -> dict[int, Part]:
    """Return the parts of the host's slaves by their index."""
    return {
        i.index: nics[i.parent]
        for i in seen
        if isinstance(i, Link) and is_host_slave(i) and i.parent in nics
    }
