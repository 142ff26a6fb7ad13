"""Tell which pods' addresses links of the node have. Pure.

The node takes such an address for its own and answers in the pod's place. The link is somebody
else's, so the address stays there, and the pod's condition names it.
"""

from collections.abc import Collection, Mapping

from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.model import Address, Link, State
from openeni_nodeagent.datapath_api import PodInterface


def misplaced_addresses(seen: State, pods: Collection[NodePod]) -> Mapping[PodInterface, str]:
    """Return what is wrong with each pod that has an address which a link of the node has, too."""
    owners = {address: pod.facts for pod in pods for address in pod.facts.addresses}
    addresses = (i for i in seen if isinstance(i, Address) and i.confirmed)
    found = [i for i in addresses if i.address in owners]
    if not found:
        return {}
    names = {i.index: i.name for i in seen if isinstance(i, Link)}
    return {
        owners[i.address]: f"{i.address} is an address of this node, on {names.get(i.index, '?')}: "
        "it answers in the pod's place"
        for i in sorted(found, key=lambda i: i.address)
    }
