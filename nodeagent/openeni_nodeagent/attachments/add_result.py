"""Build the result of ADD from the request, the grant and the pod's network. Pure."""

from openeni_crds.datapath_mode import DatapathMode
from openeni_nodeagent.addresses import family_of
from openeni_nodeagent.cni.protocol import Request
from openeni_nodeagent.cni.results import AddResult, ResultInterface, ResultRoute
from openeni_nodeagent.datapath_api import PodNetwork
from openeni_nodeagent.grants.grant import Grant


def add_result(request: Request, grant: Grant, pod_network: PodNetwork) -> AddResult:
    """Return the interfaces, the addresses with their gateways, and the routes.

    With ipvlan the host's slave is not listed. The specification: interfaces are those that the
    attachment has created; and a plugin after openeni, such as `bandwidth`, takes it for the pod's.
    """
    gateways = {family_of(gateway): gateway for gateway in pod_network.gateway}
    is_pair = grant.datapath_mode == DatapathMode.VETH
    return AddResult(
        ResultInterface(pod_network.host_interface, pod_network.host_mac, mtu=grant.mtu)
        if is_pair
        else None,
        ResultInterface(request.interface, pod_network.pod_mac, request.netns, grant.mtu),
        grant.addresses,
        tuple(gateways.get(family_of(address), "") for address in grant.addresses),
        tuple(ResultRoute(route.destination, route.gateway) for route in pod_network.routes),
    )
