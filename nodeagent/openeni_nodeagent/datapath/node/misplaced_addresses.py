"""Tell which addresses of pods, and of their gateways, links of the node have. Pure.

The node takes such an address for its own: it answers in the pod's place, and drops what a gateway
sends where that passes its stack (fib_validate_source). The link is somebody else's, so the address
stays there, and the pod's condition names it.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address

from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.model import Address, Link, State
from openeni_nodeagent.datapath_api import PodInterface

_OF_POD = "it answers in the pod's place"
_OF_GATEWAY = "what the pod's gateway sends is dropped"


def misplaced_addresses(
    seen: State, pods: Collection[NodePod], own: Collection[str]
) -> Mapping[PodInterface, str]:
    """Return what is wrong with each pod that has an address which a link of the node has, too.

    The node may be a subnet's gateway by one of its `own` addresses.
    """
    on_node = {i.address: i.index for i in seen if isinstance(i, Address) and i.confirmed}
    found: dict[PodInterface, str] = {}
    for pod in pods:
        gateways = {s.gateway for s in pod.facts.eni.subnets if pod.eni.answers_for_pods}
        gateways.difference_update(own)
        for addresses, what in ((gateways, _OF_GATEWAY), (pod.facts.addresses, _OF_POD)):
            for address in sorted(on_node.keys() & addresses):
                if not ip_address(address).is_link_local:  # which is another one on each link
                    device = _name(seen, on_node[address])
                    found[pod.facts] = f"{address} is an address of this node, on {device}: {what}"
    return found


def _name(links: State, index: int) -> str:
    return next((i.name for i in links if isinstance(i, Link) and i.index == index), "?")
