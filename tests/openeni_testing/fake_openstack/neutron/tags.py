"""Neutron's tags of ports: as a whole and one by one, each with its own path."""

from typing import Any, Final

from openeni_testing.fake_openstack.messages import ApiError, Request, Response, Route, decode
from openeni_testing.fake_openstack.neutron.access import find_own_port, find_port
from openeni_testing.fake_openstack.resources import PortRecord
from openeni_testing.fake_openstack.responses import neutron_error, not_found
from openeni_testing.fake_openstack.state import CloudState

MAX_TAGS: Final = 50  # MAX_TAGS_COUNT of neutron/extensions/tagging.py
MAX_TAG_LENGTH: Final = 255
_TAGS: Final = "/networking/v2.0/ports/{port_id}/tags"


class TagsApi:
    """Handlers run with the state's lock."""

    def __init__(self, state: CloudState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        one = f"{_TAGS}/{{tag}}"
        return [
            Route("GET", _TAGS, "get tags", self._show_all),
            Route("PUT", _TAGS, "tag port", self._replace_all),
            Route("DELETE", _TAGS, "untag port", self._remove_all),
            Route("GET", one, "get tags", self._show),
            Route("PUT", one, "tag port", self._add),
            Route("DELETE", one, "untag port", self._remove),
        ]

    def _show_all(self, request: Request, port_id: str) -> Response:
        return Response(200, {"tags": list(self._port(request, port_id).tags)})

    def _show(self, request: Request, port_id: str, tag: str) -> Response:
        if tag not in self._port(request, port_id).tags:
            raise ApiError(not_found("Tag", tag))
        return Response(204)

    def _replace_all(self, request: Request, port_id: str) -> Response:
        invalid = neutron_error(400, "InvalidInput", "Invalid tags body")
        tags = parse_tags(decode(request.body, dict[str, Any], invalid).get("tags"))
        port = self._own_port(request, port_id, "update_port:tags")
        if set(tags) != set(port.tags):
            self._state.update_port(port_id, tags=tags)
        return Response(200, {"tags": list(tags)})

    def _add(self, request: Request, port_id: str, tag: str) -> Response:
        """Add one tag. Adding one that is there changes nothing, not even the revision."""
        port = self._own_port(request, port_id, "update_port:tags")
        if tag not in port.tags:
            self._state.update_port(port_id, tags=parse_tags([*port.tags, tag]))
        return Response(201)

    def _remove_all(self, request: Request, port_id: str) -> Response:
        self._own_port(request, port_id, "delete_port:tags")
        self._state.update_port(port_id, tags=())
        return Response(204)

    def _remove(self, request: Request, port_id: str, tag: str) -> Response:
        port = self._own_port(request, port_id, "delete_port:tags")
        if tag not in port.tags:
            raise ApiError(not_found("Tag", tag))
        self._state.update_port(port_id, tags=tuple(t for t in port.tags if t != tag))
        return Response(204)

    def _port(self, request: Request, port_id: str) -> PortRecord:
        """Return the port. Neutron 29.0 fails without one: its EMPTY_RESOURCE_INFO has no id."""
        if self._state.ports.get(port_id) is None:
            message = "Request Failed: internal server error while processing your request."
            raise ApiError(neutron_error(500, "HTTPInternalServerError", message))
        return find_port(self._state, request, port_id)

    def _own_port(self, request: Request, port_id: str, rule: str) -> PortRecord:
        self._port(request, port_id)
        return find_own_port(self._state, request, port_id, rule)


def parse_tags(tags: Any) -> tuple[str, ...]:
    """Return the tags of a request; raise Neutron's refusal of what is no list of them."""
    invalid = neutron_error(400, "InvalidInput", "Invalid input for tags.")
    texts = decode(tags, list[str], invalid)
    if len(set(texts)) != len(texts) or any(len(tag) > MAX_TAG_LENGTH for tag in texts):
        raise ApiError(invalid)
    if len(texts) > MAX_TAGS:
        message = f"The number of tags exceed the per-resource limit of {MAX_TAGS}"
        raise ApiError(neutron_error(400, "BadRequest", message))
    return tuple(texts)
