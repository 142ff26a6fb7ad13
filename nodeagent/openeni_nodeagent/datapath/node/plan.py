"""Plan the whole node, part by part. Pure.

A part is what all ENIs share, one ENI, or the host's part of one pod.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeAlias

from openeni_crds import names
from openeni_nodeagent.addresses import host_cidr
from openeni_nodeagent.datapath.eni import plan_eni
from openeni_nodeagent.datapath.links import NodeENI, NodePod
from openeni_nodeagent.datapath.marks import GivenMark
from openeni_nodeagent.datapath.model import (
    NOTHING,
    Chain,
    Element,
    Item,
    Link,
    Operation,
    Qdisc,
    Route,
    Rule,
    State,
)
from openeni_nodeagent.datapath.nft_sets import FLOW_CHAIN
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.datapath_api import ENIFacts, PodInterface

Part: TypeAlias = str
Differences: TypeAlias = Mapping[Part, tuple[Operation, ...]]  # parts without any are missing
SHARED: Final[Part] = "shared"
STALE_ENIS: Final[Part] = "stale ENIs"
STRAYS: Final[Part] = "strays"


def eni_part(mac: str) -> Part:
    return f"ENI {mac}"


def pod_part(pod: PodInterface) -> Part:
    return f"pod {pod.container_id}/{pod.interface}"


@dataclass(frozen=True)
class NodePlan:
    """The wanted state of the node, and what tells which part an observed item belongs to."""

    shared: State  # NOTHING with the last ENI
    enis: tuple[NodeENI, ...]
    closed: Mapping[str, Link]  # NICs by MAC, of ENIs that openeni leaves, or has no mark for
    missing: tuple[ENIFacts, ...]  # whose NICs are gone, or have another MAC
    changed: Mapping[str, Link]  # NICs by the MACs of their ENIs, where they have another one
    former: tuple[NodeENI, ...]  # the missing ones, as they were when they had a NIC
    pods: tuple[NodePod, ...]
    strays: frozenset[str]  # addresses that no pod has
    used_links: frozenset[str]  # names of the host's ends of pods with a grant, or in a DEL
    marks: Mapping[int, GivenMark]  # of all ENIs, by their tables

    @property
    def node_addresses(self) -> tuple[str, ...]:
        """The node's addresses that pods' routes to it are planned with, as links have them."""
        return next((eni.node.addresses for eni in self.enis), ())

    @cached_property
    def wanted(self) -> Mapping[Part, State]:
        """The wanted state by part."""
        parts: dict[Part, State] = {SHARED: self.shared}
        for mac, nic in self.closed.items():
            parts[eni_part(mac)] = frozenset({replace(nic, up=False)})
        for eni in self.enis:
            parts[eni_part(eni.facts.mac)] = plan_eni(eni)
        for pod in self.pods:
            parts[pod_part(pod.facts)] = plan_pod(pod).host
        return parts

    @cached_property
    def held(self) -> Mapping[Part, State]:
        """The state that each missing ENI must have.

        It keeps what their pods send from the node's own NIC, and from other ENIs: the mark that a
        chain sets, the rules that it leads by, and where these end.
        """
        found: dict[Part, State] = {}
        for eni in self.former:
            part = eni_part(eni.facts.mac)
            own = frozenset(item for item in plan_eni(eni) if _holds(eni, item))
            found[part] = found.get(part, NOTHING) | own
        return found

    @cached_property
    def nics(self) -> Mapping[int, Part]:
        """The parts of NICs by their index."""
        of_none = (*self.closed.items(), *self.changed.items())
        found = {nic.index: eni_part(mac) for mac, nic in of_none}
        return found | {eni.link.ifindex: eni_part(eni.facts.mac) for eni in self.enis}

    @cached_property
    def primaries(self) -> Mapping[str, Part]:
        """The parts of ENIs by the CIDRs of their primary addresses.

        A port that was made anew may have that of a former one, whose NIC is gone.
        """
        return {
            host_cidr(address): eni_part(facts.mac)
            for facts in (*self.missing, *(eni.facts for eni in self.enis))
            for address in facts.primary
        }

    @cached_property
    def members(self) -> Mapping[tuple[str, str], Part]:
        """The parts of the members of sets and maps, by the set's name and the member's key."""
        return {
            (i.name, i.key): part
            for part, items in self.wanted.items()
            for i in items
            if isinstance(i, Element)
        }

    @cached_property
    def limited(self) -> Mapping[int, Part]:
        """The parts of pods with a token bucket on the node, by the index of its link."""
        return {
            i.index: part
            for part, items in self.wanted.items()
            for i in items
            if isinstance(i, Qdisc)
        }

    @cached_property
    def addresses(self) -> Mapping[str, Part]:
        """The parts of pods by their addresses, and that of strays."""
        found = dict.fromkeys(self.strays, STRAYS)
        return found | {a: pod_part(pod.facts) for pod in self.pods for a in pod.facts.addresses}


def _holds(eni: NodeENI, item: Item) -> bool:
    """Return True for what needs no NIC, and serves nobody else; pods of ipvlan went with it.

    They live on with a NIC that has another MAC now.
    """
    has_nic = bool(eni.link.device)
    match item:
        case Rule():
            return item.priority != names.RULE_WAY_BACK and (has_nic or not item.iif)
        case Route():
            return not item.index
        case Chain():
            is_of_nic = item.family == "netdev" or item.name.endswith(FLOW_CHAIN)
            return has_nic or not (eni.ipvlan or is_of_nic)
        case _:
            return False
