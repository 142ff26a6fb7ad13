"""Tell what a runtime is to know of a pod's network. Pure."""

from collections.abc import Mapping

from openeni_crds import names
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.plan import plan_pod, pod_gateways, pod_routes
from openeni_nodeagent.datapath.pod_messages.template import template_of
from openeni_nodeagent.datapath_api import PodNetwork


def pod_network(pod: NodePod, phases: Mapping[str, float]) -> PodNetwork:
    """Return the network of a pod, by its ENI's template if there is one."""
    slave, eni_mac = pod.eni.ipvlan, pod.eni.facts.mac
    template = template_of(pod)
    return PodNetwork(
        host_interface=pod.eni.host_slave if slave else pod.host_link,
        host_mac=eni_mac if slave else names.VETH_MAC,
        pod_mac=eni_mac if slave else pod.mac,
        gateway=template.gateways if template else pod_gateways(pod),
        routes=template.routes if template else pod_routes(plan_pod(pod).pod),
        phases=phases,
    )
