"""Plan what should be in the kernel for the node and for a pod; `eni` plans the ENIs."""

from functools import lru_cache
from typing import Final

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, family_of
from openeni_nodeagent.datapath import ipvlan, veth
from openeni_nodeagent.datapath.eni import accepting_no_routers, no_ipv6, silent_ipv6, sysctls
from openeni_nodeagent.datapath.filters.node import node_chains
from openeni_nodeagent.datapath.links import NodePod, gateway
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import (
    TABLE_MAIN,
    PodPlan,
    Route,
    Rule,
    State,
    Sysctl,
)
from openeni_nodeagent.datapath.options.bandwidth import limits
from openeni_nodeagent.datapath.options.host_ports import host_port_items
from openeni_nodeagent.datapath_api import NodeFacts, PodRoute
from openeni_nodeagent.pod_options import UNLIMITED

_TO_PODS: Final = (
    (names.RULE_TO_POD, names.TABLE_PODS),
    (names.RULE_TO_L2_POD, names.TABLE_L2_PODS),
    (names.RULE_TO_L3_POD, names.TABLE_L3_PODS),
)
_REMEMBERED: Final = 1024  # pods, whose plans each look needs again


def plan_node(families: frozenset[int], marks: Marks, node: NodeFacts) -> State:
    """Return what all ENIs share; `families` are those that the node's kernel supports."""
    return frozenset(
        {
            Sysctl("net/ipv4/ip_forward", "1"),
            *(Rule(f, priority, table) for f in families for priority, table in _TO_PODS),
            *(
                Rule(
                    f,
                    names.RULE_REPLY,
                    TABLE_MAIN,
                    mark=marks.reply.value,
                    mask=marks.reply.mask,
                )
                for f in families
            ),
            *node_chains(marks.reply, node),
        }
    )


@lru_cache(maxsize=_REMEMBERED)
def plan_pod(pod: NodePod) -> PodPlan:
    """Return both parts of one pod's datapath: on the host and in the pod's namespace."""
    planned = _connection(pod)
    if not pod.facts.host_ports and pod.facts.bandwidth == UNLIMITED:  # nearly every pod
        return planned
    limited = limits(pod)
    return PodPlan(
        planned.host | host_port_items(pod) | limited.host,
        planned.pod | limited.pod,
    )


def _connection(pod: NodePod) -> PodPlan:
    interface = pod.facts.interface
    if pod.eni.ipvlan:
        planned = ipvlan.plan_pod(pod)
        return PodPlan(planned.host, planned.pod | _ipv6_sysctls(pod, interface, silent=True))
    planned = veth.plan_pod(pod)
    return PodPlan(
        planned.host | _forwarding(pod.host_link) | _ipv6_sysctls(pod, pod.host_link, silent=True),
        planned.pod | _ipv6_sysctls(pod, interface, silent=False),
    )


def pod_routes(pod: State) -> tuple[PodRoute, ...]:
    """Return the pod's routes for the CNI result, the longest prefix first."""
    routes = [i for i in pod if isinstance(i, Route)]
    routes.sort(key=lambda r: (-int(r.destination.split("/")[1]), r.destination))
    return tuple(PodRoute(r.destination, r.gateway) for r in routes)


def pod_gateways(pod: NodePod) -> tuple[str, ...]:
    """Return one gateway for each family; none in l3s and l3, where the default route has none."""
    if pod.eni.ipvlan and not pod.eni.layer_2:
        return ()
    return tuple(dict.fromkeys(gateway(pod.eni, family_of(a)) for a in pod.facts.addresses))


def _forwarding(link: str) -> State:
    """Return the sysctls of a node's end that forwards, and answers no ARP request.

    A new link forwards as `default` says, which somebody may set alone. Both ends know each other.

    For each sender of a request that it answers the kernel has a neighbour, and 1,024 of them
    (gc_thresh3), whose senders a pod can forge, are all that a machine may have.
    """
    conf = f"net/ipv4/conf/{link}"
    return sysctls({f"{conf}/arp_ignore": "8", f"{conf}/forwarding": "1"})


def _ipv6_sysctls(pod: NodePod, link: str, *, silent: bool) -> State:
    """Return the IPv6 sysctls of one of the pod's links: off, or on without what it may not do."""
    if all(family_of(a) == IPV4 for a in pod.facts.addresses):
        return sysctls(no_ipv6(link))
    return sysctls(silent_ipv6(link) if silent else accepting_no_routers(link))
