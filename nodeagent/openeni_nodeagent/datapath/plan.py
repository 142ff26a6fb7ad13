"""Plan what should be in the kernel for the node and for a pod; `eni` plans the ENIs."""

from openeni_crds import names
from openeni_nodeagent.addresses import IPV4, family_of
from openeni_nodeagent.datapath import ipvlan, veth
from openeni_nodeagent.datapath.eni import no_ipv6, slave_on_ipv6
from openeni_nodeagent.datapath.filters import node_chains
from openeni_nodeagent.datapath.links import NodePod, gateway
from openeni_nodeagent.datapath.model import (
    TABLE_MAIN,
    PodPlan,
    Route,
    Rule,
    State,
    Sysctl,
)
from openeni_nodeagent.datapath_api import PodRoute


def plan_node(families: frozenset[int]) -> State:
    """Return what all ENIs share; `families` are those that the node's kernel supports."""
    return frozenset(
        {
            Sysctl("net/ipv4/ip_forward", "1"),
            *(Rule(f, names.RULE_TO_POD, names.TABLE_PODS) for f in families),
            *(
                Rule(
                    f,
                    names.RULE_REPLY,
                    TABLE_MAIN,
                    mark=names.MARK_REPLY,
                    mask=names.MARK_MASK,
                )
                for f in families
            ),
            *node_chains(),
        }
    )


def plan_pod(pod: NodePod) -> PodPlan:
    """Return both parts of one pod's datapath: on the host and in the pod's namespace."""
    planned = ipvlan.plan_pod(pod) if pod.eni.ipvlan else veth.plan_pod(pod)
    return PodPlan(planned.host, planned.pod | _ipv6_sysctls(pod))


def pod_routes(pod: State) -> tuple[PodRoute, ...]:
    """Return the pod's routes for the CNI result, the longest prefix first."""
    routes = [i for i in pod if isinstance(i, Route)]
    routes.sort(key=lambda r: (-int(r.destination.split("/")[1]), r.destination))
    return tuple(PodRoute(r.destination, r.gateway) for r in routes)


def pod_gateways(pod: NodePod) -> tuple[str, ...]:
    """Return one gateway for each family; none in l3s and l3, where the default route has none."""
    if pod.eni.ipvlan and not pod.eni.layer_2:
        return ()
    return tuple(dict.fromkeys(gateway(family_of(a)) for a in pod.facts.addresses))


def _ipv6_sysctls(pod: NodePod) -> State:
    """Return the IPv6 sysctls of the pod's link: disabled, or those of a slave or a veth end."""
    interface = pod.facts.interface
    if all(family_of(a) == IPV4 for a in pod.facts.addresses):
        values = dict([no_ipv6(interface)])
    elif pod.eni.ipvlan:
        values = slave_on_ipv6(interface)
    else:
        conf = f"net/ipv6/conf/{interface}"
        values = {f"{conf}/disable_ipv6": "0", f"{conf}/accept_ra": "0"}
    return frozenset(Sysctl(path, value) for path, value in values.items())
