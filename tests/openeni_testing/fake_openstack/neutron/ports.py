"""Neutron's ports."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from openeni_testing.fake_openstack.messages import (
    ApiError,
    Caller,
    Json,
    Request,
    Response,
    Route,
    decode,
)
from openeni_testing.fake_openstack.neutron.access import find_own_port, find_port, is_visible, owns
from openeni_testing.fake_openstack.neutron.address_allocation import Allocation
from openeni_testing.fake_openstack.neutron.list_query import PORTS, list_response
from openeni_testing.fake_openstack.neutron.tags import parse_tags
from openeni_testing.fake_openstack.resources import NetworkRecord, PortRecord
from openeni_testing.fake_openstack.responses import (
    neutron_error,
    not_found,
    over_quota,
    policy_not_authorized,
)
from openeni_testing.fake_openstack.state import CloudState

_PORT: Final = "/networking/v2.0/ports/{port_id}"
_IF_MATCH: Final = re.compile(r"revision_number=(\d+)")
NO_SUBNET: Final = "00000000-0000-0000-0000-000000000000"
_QOS: Final = "qos_policy_id"
_UPDATES: Final = {
    "fixed_ips": "set fixed IPs",
    "security_groups": "set security groups",
    _QOS: "set QoS policy",
}
# Attributes of a request, and the fields of a PortRecord that hold them as they are.
_PLAIN: Final = {
    "name": "name",
    "description": "description",
    "device_id": "device_id",
    "device_owner": "device_owner",
    "admin_state_up": "admin_state_up",
    "port_security_enabled": "port_security",
}
_WRITABLE: Final = {*_PLAIN, "fixed_ips", "security_groups", "allowed_address_pairs", _QOS}
_CREATABLE: Final = {*_WRITABLE, "network_id", "mac_address", "tags", "project_id", "tenant_id"}
# What only the network's owner may set: neutron/conf/policies/port.py.
_OWNERS_ON_CREATE: Final = ("mac_address", "port_security_enabled", "allowed_address_pairs")
_OWNERS_ON_UPDATE: Final = ("fixed_ips", "port_security_enabled", "allowed_address_pairs")


class PortsApi:
    """Handlers run with the state's lock."""

    def __init__(self, state: CloudState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        ports = "/networking/v2.0/ports"
        return [
            Route("GET", ports, _list_operation, self._list),
            Route("POST", ports, "create port", self._create),
            Route("GET", _PORT, "get port", self._show),
            Route("PUT", _PORT, _update_operation, self._update),
            Route("DELETE", _PORT, "delete port", self._delete),
        ]

    def _list(self, request: Request) -> Response:
        ports = self._candidates(request)
        return list_response(
            request,
            PORTS,
            (
                self._body(p, request.caller)
                for p in ports
                if is_visible(self._state, p, request.caller)
            ),
            page_limit=self._state.settings.page_limit,
            validates="filter-validation" in self._state.settings.extensions,
        )

    def _candidates(self, request: Request) -> list[PortRecord]:
        """Return the ports that a list filters: all, or those that an index finds by name."""
        moment = request.moment or self._state.list_moment()
        if moment is not None or "name" not in request.query:
            return self._state.ports.all(moment)
        names = dict.fromkeys(request.query["name"])
        return [port for name in names for port in self._state.ports.named(name)]

    def _show(self, request: Request, port_id: str) -> Response:
        return self._response(200, find_port(self._state, request, port_id), request)

    def _create(self, request: Request) -> Response:
        wanted = _attributes(request, _CREATABLE)
        network = self._network(wanted.get("network_id", ""), request.caller)
        if not owns(network, request.caller):
            _check_create_policy(wanted)
        owner = str(
            wanted.get("project_id") or wanted.get("tenant_id") or request.caller.project_id
        )
        if owner != request.caller.project_id and not request.caller.admin:
            raise ApiError(policy_not_authorized("create_port"))
        self._check_quota(owner)
        mac = self._new_mac(wanted)
        port = PortRecord(
            id=self._state.new_id(),
            name="",
            network_id=network.id,
            project_id=owner,
            mac=mac,
            created_at=self._state.timestamp(),
            addresses=self._allocation(network.id, mac).for_new_port(_fixed_ips(wanted)),
            tags=() if self._state.settings.drops_tags else parse_tags(wanted.get("tags", [])),
            port_security=network.port_security,
        )
        changes = self._changes(wanted, request.caller)
        if changes.get("port_security", network.port_security):
            port = replace(port, groups=self._default_groups(owner))
        port = replace(port, **changes)
        _check_port_security(port, wanted)
        self._state.store_port(port)
        return self._response(201, port, request)

    def _update(self, request: Request, port_id: str) -> Response:
        port = find_own_port(self._state, request, port_id, "update_port")
        wanted = _attributes(request, _WRITABLE)
        if not owns(self._state.networks[port.network_id], request.caller):
            for name in _OWNERS_ON_UPDATE:
                if name in wanted:
                    raise ApiError(policy_not_authorized(f"update_port:{name}"))
        changes = self._changes(wanted, request.caller)
        entries = _fixed_ips(wanted)
        if entries is not None:
            allocation = self._allocation(port.network_id, port.mac)
            changes["addresses"] = allocation.for_update(port.addresses, entries)
        _check_port_security(replace(port, **changes), wanted)
        if replace(port, **changes) != port:  # it is compared when something is written
            self._check_revision(request, port)
        return self._response(200, self._state.update_port(port_id, **changes), request)

    def _delete(self, request: Request, port_id: str) -> Response:
        port = find_port(self._state, request, port_id)
        self._check_revision(request, port)
        if port.device_owner.startswith("network:"):
            message = (
                f"Port {port_id} cannot be deleted directly via the port API: "
                f"has device owner {port.device_owner}."
            )
            raise ApiError(neutron_error(409, "ServicePortInUse", message))
        self._state.delete_port(port_id)
        return Response(204)

    def _network(self, network_id: str, caller: Caller) -> NetworkRecord:
        network = self._state.networks.get(network_id)
        if network is None or not (network.shared or owns(network, caller)):
            raise ApiError(not_found("Network", network_id))
        return network

    def _allocation(self, network_id: str, mac: str) -> Allocation:
        state = self._state
        return Allocation(network_id, mac, state.subnets, state.ports, state.dice)

    def _new_mac(self, wanted: Json) -> str:
        mac = str(wanted.get("mac_address", ""))
        if not mac:
            return self._state.new_mac()
        if mac in {port.mac for port in self._state.ports.all()}:
            message = f"Unable to complete operation. The mac address {mac} is in use."
            raise ApiError(neutron_error(409, "MacAddressInUse", message))
        return mac

    def _check_quota(self, project_id: str) -> None:
        limit = self._state.settings.port_quota
        used = sum(port.project_id == project_id for port in self._state.ports.all())
        if 0 <= limit <= used:
            raise ApiError(over_quota())

    def _check_revision(self, request: Request, port: PortRecord) -> None:
        header = request.headers.get("if-match")
        if header is None or self._state.settings.ignores_if_match:
            return
        found = _IF_MATCH.fullmatch(header)
        if found is None or "revision-if-match" not in self._state.settings.extensions:
            raise ApiError(neutron_error(400, "HTTPBadRequest", f"Invalid If-Match: {header}"))
        if int(found[1]) != port.revision:
            message = f"Constrained to {found[1]}, but current revision is {port.revision}"
            raise ApiError(neutron_error(412, "RevisionNumberConstraintFailed", message))

    def _changes(self, wanted: Json, caller: Caller) -> dict[str, Any]:
        """Return the fields that a request sets, but for the addresses."""
        changes = {_PLAIN[name]: value for name, value in wanted.items() if name in _PLAIN}
        if "allowed_address_pairs" in wanted:
            changes["address_pairs"] = tuple(wanted["allowed_address_pairs"])
        if "security_groups" in wanted:
            changes["groups"] = tuple(wanted["security_groups"])
        if _QOS in wanted:
            changes[_QOS] = self._policy(wanted[_QOS], caller)
        for group_id in changes.get("groups", ()):
            group = self._state.groups.get(group_id)
            if group is None or not (caller.admin or group.project_id == caller.project_id):
                raise ApiError(not_found("SecurityGroup", group_id))
        return changes

    def _policy(self, policy_id: str | None, caller: Caller) -> str | None:
        if "qos" not in self._state.settings.extensions:
            message = f"Unrecognized attribute(s) '{_QOS}'"
            raise ApiError(neutron_error(400, "HTTPBadRequest", message))
        if policy_id is None:
            return None
        policy = self._state.policies.get(policy_id)
        if policy is None or not owns(policy, caller):
            message = f"QoS policy {policy_id} could not be found."
            raise ApiError(neutron_error(404, "QosPolicyNotFound", message))
        return policy.id

    def _default_groups(self, project_id: str) -> tuple[str, ...]:
        groups = self._state.groups.values()
        return tuple(g.id for g in groups if (g.name, g.project_id) == ("default", project_id))

    def _response(self, status: int, port: PortRecord, request: Request) -> Response:
        return Response(status, {"port": self._body(port, request.caller)})

    def _body(self, port: PortRecord, caller: Caller) -> Json:
        return port.body | port.binding if caller.admin else port.body


def _list_operation(request: Request) -> str:
    if "name" in request.query:
        return "find port"
    return "list tagged ports" if "tags" in request.query else "list ports"


def _update_operation(request: Request) -> str:
    """Name changes as the operator does, and its probe of fixed IPs."""
    text = str(request.body)
    if NO_SUBNET in text:
        return "probe fixed IPs"
    return next((name for key, name in _UPDATES.items() if key in text), "update port")


def _attributes(request: Request, allowed: Iterable[str]) -> Json:
    """Return the attributes of a request body; those that may not be set are refused."""
    missing = neutron_error(400, "HTTPBadRequest", "Unable to find 'port' in request body")
    attributes = decode(request.body, dict[str, Json], missing).get("port", {})
    refused = sorted(attributes.keys() - set(allowed))
    if refused:
        message = f"Unrecognized or read-only attribute(s) '{', '.join(refused)}'"
        raise ApiError(neutron_error(400, "HTTPBadRequest", message))
    return attributes


def _check_create_policy(wanted: Json) -> None:
    """Refuse what only the network's owner may ask for."""
    for name in _OWNERS_ON_CREATE:
        if name in wanted:
            raise ApiError(policy_not_authorized(f"create_port:{name}"))
    if any("ip_address" in entry for entry in _fixed_ips(wanted) or ()):
        raise ApiError(policy_not_authorized("create_port:fixed_ips:ip_address"))


def _check_port_security(port: PortRecord, wanted: Json) -> None:
    """Refuse what takes port security: neutron.plugins.ml2.plugin, _portsec_ext_port_*."""
    if port.port_security:
        return
    if port.address_pairs:
        message = "Port Security must be enabled in order to have allowed address pairs on a port."
        raise ApiError(neutron_error(409, "AddressPairAndPortSecurityRequired", message))
    if wanted.get("security_groups"):
        message = (
            "Port security must be enabled and port must have an IP address in order to use "
            "security groups."
        )
        error = "PortSecurityAndIPRequiredForSecurityGroups"
        raise ApiError(neutron_error(400, error, message))
    if port.groups:
        message = (
            "Port has security group associated. Cannot disable port security or IP address until "
            "security group is removed."
        )
        raise ApiError(neutron_error(409, "PortSecurityPortHasSecurityGroup", message))


def _fixed_ips(wanted: Json) -> list[Json] | None:
    """Return the entries of `fixed_ips`, each with a subnet, an address or both."""
    if wanted.get("fixed_ips") is None:
        return None
    message = f"Invalid input for fixed_ips. Reason: {wanted['fixed_ips']}."
    invalid = neutron_error(400, "HTTPBadRequest", message)
    entries = decode(wanted["fixed_ips"], list[dict[str, Any]], invalid)
    named = [entry["ip_address"] for entry in entries if "ip_address" in entry]
    if len(set(named)) != len(named) or not all(
        {"subnet_id", "ip_address"} & e.keys() for e in entries
    ):
        raise ApiError(invalid)
    return entries
