"""Who sees a network and a port, and who may change it: neutron/conf/policies/port.py (2026.1)."""

from openeni_testing.fake_openstack.messages import ApiError, Caller, Request
from openeni_testing.fake_openstack.resources import NetworkRecord, PortRecord, QoSPolicyRecord
from openeni_testing.fake_openstack.responses import not_found, policy_not_authorized
from openeni_testing.fake_openstack.state import CloudState


def owns(resource: NetworkRecord | QoSPolicyRecord, caller: Caller) -> bool:
    return caller.admin or resource.project_id == caller.project_id


def is_visible(state: CloudState, port: PortRecord, caller: Caller) -> bool:
    """Return whether the port is the caller's, or on a network of the caller's."""
    return port.project_id == caller.project_id or owns(state.networks[port.network_id], caller)


def find_port(state: CloudState, request: Request, port_id: str) -> PortRecord:
    port = state.ports.get(port_id, request.moment)
    if port is None or not is_visible(state, port, request.caller):
        raise ApiError(not_found("Port", port_id))
    return port


def find_own_port(state: CloudState, request: Request, port_id: str, rule: str) -> PortRecord:
    """Return a port of the caller's project: a network's owner may not change the others."""
    port = find_port(state, request, port_id)
    if port.project_id != request.caller.project_id and not request.caller.admin:
        raise ApiError(policy_not_authorized(rule))
    return port
