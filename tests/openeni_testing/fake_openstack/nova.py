"""Nova's servers and their network interfaces.

Attach is synchronous as far as the API answers only once the guest has the NIC; the port becomes
ACTIVE later. Detach is a cast: the answer 202 says nothing (nova/compute/api.py).
"""

from typing import Final

from openeni_testing.fake_openstack.messages import ApiError, Json, Request, Response, Route, decode
from openeni_testing.fake_openstack.resources import PortRecord, ServerRecord
from openeni_testing.fake_openstack.responses import attach_failed, nova_error
from openeni_testing.fake_openstack.state import CloudState

ROOT: Final = "/compute/v2.1"
MAX_MICROVERSION: Final = "2.100"
_VERSION_HEADER: Final = "openstack-api-version"
_SERVERS: Final = f"{ROOT}/servers"
_INTERFACES: Final = f"{ROOT}/servers/{{server_id}}/os-interface"
_CHANGEABLE: Final = ("active", "paused", "stopped")  # vm_states that allow attach and detach


class NovaApi:
    """Handlers run with the state's lock."""

    def __init__(self, state: CloudState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        one = f"{_INTERFACES}/{{port_id}}"
        return [
            Route("GET", ROOT, "discover", self._version, needs_token=False),
            Route("GET", _SERVERS, "list servers", self._list),
            Route("GET", f"{_SERVERS}/detail", "list servers", self._list),
            Route("GET", f"{_SERVERS}/{{server_id}}", "get server", self._show),
            Route("GET", _INTERFACES, "list interfaces", self._interfaces),
            Route("GET", one, "get interface", self._interface),
            Route("POST", _INTERFACES, "attach port", self._attach),
            Route("DELETE", one, "detach port", self._detach),
        ]

    def _version(self, request: Request) -> Response:
        version = {
            "id": "v2.1",
            "status": "CURRENT",
            "version": MAX_MICROVERSION,
            "min_version": "2.1",
            "links": [{"rel": "self", "href": f"{request.base_url}{ROOT}/"}],
        }
        return Response(200, {"version": version})

    def _list(self, request: Request) -> Response:
        """List servers. Nova matches a name as a regular expression, so here a part matches."""
        name = request.query.get("name", [""])[0]
        servers = [s for s in self._servers(request) if name in s.name]
        return _response(request, 200, {"servers": [s.body for s in servers]})

    def _show(self, request: Request, server_id: str) -> Response:
        return _response(request, 200, {"server": self._server(request, server_id).body})

    def _interfaces(self, request: Request, server_id: str) -> Response:
        self._server(request, server_id)
        ports = [p for p in self._state.ports.all() if p.device_id == server_id]
        return _response(request, 200, {"interfaceAttachments": [_interface(p) for p in ports]})

    def _interface(self, request: Request, server_id: str, port_id: str) -> Response:
        self._server(request, server_id)
        port = self._state.ports.get(port_id)
        if port is None:
            raise ApiError(nova_error(404, f"Port id {port_id} could not be found."))
        if port.device_id != server_id:
            message = f"Instance {server_id} does not have a port with id {port_id}"
            raise ApiError(nova_error(404, message))
        return _response(request, 200, {"interfaceAttachment": _interface(port)})

    def _attach(self, request: Request, server_id: str) -> Response:
        server = self._server(request, server_id)
        port = self._port_to_attach(_port_id(request), server)
        _check_changeable(server, "attach_interface")
        self._state.update_port(
            port.id,
            device_id=server.id,
            device_owner=f"compute:{server.zone}",
            host=server.host,
            status="BUILD" if server.agent else "DOWN",
        )
        if server.slots is not None and len(server.nics) >= server.slots:
            self._state.unbind(port.id)
            raise ApiError(attach_failed(server.id))
        server.nics.add(port.id)
        delay = self._state.settings.attach_seconds
        self._state.run_later(delay, lambda: self._activate(server, port.id))
        return self._interface(request, server_id, port.id)

    def _activate(self, server: ServerRecord, port_id: str) -> None:
        port = self._state.ports.get(port_id)
        if server.agent and port is not None and port.device_id == server.id:
            self._state.update_port(port_id, status="ACTIVE")

    def _detach(self, request: Request, server_id: str, port_id: str) -> Response:
        """Accept a detach, also of a port that is not attached to this server."""
        server = self._server(request, server_id)
        _check_changeable(server, "detach_interface")
        if port_id in server.nics and not server.loses_detaches:
            delay = self._state.settings.detach_seconds
            self._state.run_later(delay, lambda: self._release(server, port_id))
        return _response(request, 202, None)

    def _release(self, server: ServerRecord, port_id: str) -> None:
        server.nics.discard(port_id)
        port = self._state.ports.get(port_id)
        if port is not None and port.device_id == server.id:
            self._state.unbind(port_id)

    def _port_to_attach(self, port_id: str, server: ServerRecord) -> PortRecord:
        """Return a port that can be attached; nova/network/neutron.py has the checks."""
        port = self._state.ports.get(port_id)
        if port is None:
            raise ApiError(nova_error(404, f"Port id {port_id} could not be found."))
        if port.project_id != server.project_id:
            message = f"Port {port_id} not usable for instance {server.id}."
            raise ApiError(nova_error(400, message))
        if port.device_id:
            raise ApiError(nova_error(409, f"Port {port_id} is still in use."))
        if not port.addresses:
            message = f"Port {port_id} requires a FixedIP in order to be used."
            raise ApiError(nova_error(400, message))
        return port

    def _servers(self, request: Request) -> list[ServerRecord]:
        servers = self._state.servers.values()
        caller = request.caller
        return [s for s in servers if caller.admin or s.project_id == caller.project_id]

    def _server(self, request: Request, server_id: str) -> ServerRecord:
        for server in self._servers(request):
            if server.id == server_id:
                return server
        raise ApiError(nova_error(404, f"Instance {server_id} could not be found."))


def _port_id(request: Request) -> str:
    invalid = nova_error(400, "Invalid input for field/attribute interfaceAttachment.")
    attachment = decode(request.body, dict[str, Json], invalid).get("interfaceAttachment", {})
    return decode(attachment.get("port_id"), str, invalid)


def _check_changeable(server: ServerRecord, action: str) -> None:
    if server.locked:
        raise ApiError(nova_error(409, f"Instance {server.id} is locked"))
    state = ""
    if server.vm_state not in _CHANGEABLE:
        state = f"vm_state {server.vm_state}"
    elif server.task_state:
        state = f"task_state {server.task_state}"
    if state:
        message = f"Cannot '{action}' instance {server.id} while it is in {state}"
        raise ApiError(nova_error(409, message))


def _interface(port: PortRecord) -> Json:
    return {
        "port_id": port.id,
        "net_id": port.network_id,
        "mac_addr": port.mac,
        "port_state": port.status,
        "fixed_ips": port.fixed_ips,
    }


def _response(request: Request, status: int, body: Json | None) -> Response:
    """Return a response in the microversion that was asked for."""
    asked = request.headers.get(_VERSION_HEADER, "compute 2.1")
    return Response(status, body, {"OpenStack-API-Version": asked})
