"""Neutron but for its ports: networks, subnets, security groups, quotas, extensions, versions."""

from collections.abc import Callable
from typing import Final

from openeni_testing.fake_openstack.messages import (
    ApiError,
    Caller,
    Json,
    Request,
    Response,
    Route,
)
from openeni_testing.fake_openstack.neutron.access import owns
from openeni_testing.fake_openstack.neutron.list_query import (
    GROUPS,
    NETWORKS,
    POLICIES,
    SUBNETS,
    Collection,
    list_response,
)
from openeni_testing.fake_openstack.neutron.ports import PortsApi
from openeni_testing.fake_openstack.neutron.tags import TagsApi
from openeni_testing.fake_openstack.responses import neutron_error, not_found
from openeni_testing.fake_openstack.state import CloudState

ROOT: Final = "/networking"
_V2: Final = "/networking/v2.0"
_TAGS_IN_POST: Final = "tag-ports-during-bulk-creation"
_NAMES: Final = {"security-groups": "security groups", "qos/policies": "QoS policies"}
_OTHER_QUOTAS: Final = {"network": 100, "subnet": 100, "security_group": 10}


class NeutronApi:
    """Handlers run with the state's lock."""

    def __init__(self, state: CloudState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        return [
            Route("GET", ROOT, "discover", self._versions, needs_token=False),
            *PortsApi(self._state).routes(),
            *TagsApi(self._state).routes(),
            *self._reads("networks", NETWORKS, "network", self._networks),
            *self._reads("subnets", SUBNETS, "subnet", self._subnets),
            *self._reads("security-groups", GROUPS, "security_group", self._groups),
            *self._reads("qos/policies", POLICIES, "policy", self._policies),
            Route("GET", f"{_V2}/quotas/{{project_id}}", "get quota", self._quota),
            Route("GET", f"{_V2}/quotas/{{project_id}}/details", "get quota", self._quota_details),
            Route("GET", f"{_V2}/extensions", "list extensions", self._extensions),
            Route("GET", f"{_V2}/extensions/{{alias}}", "get extension", self._extension),
        ]

    def _reads(
        self,
        path: str,
        collection: Collection,
        key: str,
        visible: Callable[[Caller], list[Json]],
    ) -> list[Route]:
        def list_all(request: Request) -> Response:
            limit = self._state.settings.page_limit
            return list_response(request, collection, visible(request.caller), page_limit=limit)

        def show(request: Request, wanted: str) -> Response:
            for body in visible(request.caller):
                if body["id"] == wanted:
                    return Response(200, {key: body})
            raise ApiError(not_found(collection.kind, wanted))

        return [
            Route("GET", f"{_V2}/{path}", _list_operation(_NAMES.get(path, path)), list_all),
            Route("GET", f"{_V2}/{path}/{{wanted}}", f"get {key}", show),
        ]

    def _networks(self, caller: Caller) -> list[Json]:
        return [n.body for n in self._state.networks.values() if n.shared or owns(n, caller)]

    def _subnets(self, caller: Caller) -> list[Json]:
        networks = {body["id"] for body in self._networks(caller)}
        return [s.body for s in self._state.subnets.values() if s.network_id in networks]

    def _groups(self, caller: Caller) -> list[Json]:
        groups = self._state.groups.values()
        return [g.body for g in groups if caller.admin or g.project_id == caller.project_id]

    def _policies(self, caller: Caller) -> list[Json]:
        if "qos" not in self._state.settings.extensions:
            raise ApiError(neutron_error(404, "HTTPNotFound", "The resource could not be found."))
        policies = self._state.policies.values()
        return [p.body for p in policies if owns(p, caller)]

    def _quota(self, request: Request, project_id: str) -> Response:
        limits = _OTHER_QUOTAS | {"port": self._port_quota(request, project_id)}
        return Response(200, {"quota": limits})

    def _quota_details(self, request: Request, project_id: str) -> Response:
        limit = self._port_quota(request, project_id)
        used = sum(port.project_id == project_id for port in self._state.ports.all())
        details = {
            name: {"limit": number, "used": 0, "reserved": 0}
            for name, number in _OTHER_QUOTAS.items()
        }
        details["port"] = {"limit": limit, "used": used, "reserved": 0}
        return Response(200, {"quota": details})

    def _port_quota(self, request: Request, project_id: str) -> int:
        if project_id != request.caller.project_id and not request.caller.admin:
            reason = "Only admin is authorized to access quotas for another project"
            message = f"User does not have admin privileges: {reason}"
            raise ApiError(neutron_error(403, "AdminRequired", message))
        return self._state.settings.port_quota

    def _aliases(self) -> list[str]:
        settings = self._state.settings
        return sorted(settings.extensions - ({_TAGS_IN_POST} if settings.drops_tags else set()))

    def _extensions(self, _request: Request) -> Response:
        return Response(200, {"extensions": [_extension_body(a) for a in self._aliases()]})

    def _extension(self, _request: Request, alias: str) -> Response:
        if alias not in self._aliases():
            message = f"Extension with alias {alias} does not exist"
            raise ApiError(neutron_error(404, "HTTPNotFound", message))
        return Response(200, {"extension": _extension_body(alias)})

    def _versions(self, request: Request) -> Response:
        link = {"rel": "self", "href": f"{request.base_url}{_V2}/"}
        return Response(200, {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]})


def _list_operation(names: str) -> Callable[[Request], str]:
    """Name lists as the operator does: those of one network, and those that look for a name."""
    return lambda request: f"{'list' if 'network_id' in request.query else 'find'} {names}"


def _extension_body(alias: str) -> Json:
    return {"alias": alias, "name": alias, "description": "", "links": [], "updated": ""}
