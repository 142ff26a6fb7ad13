"""Neutron's lists: filters, fields and pages.

From neutron/api/api_common.py: values of one filter are alternatives, different filters must all
match, and a filter that Neutron does not know is ignored, unless `filter-validation` is loaded.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from openeni_testing.fake_openstack.messages import ApiError, Json, Request, Response
from openeni_testing.fake_openstack.responses import neutron_error, not_found

_NO_FILTERS: Final = frozenset(
    ("fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir", "verbose")
)
_TAG_FILTERS: Final[Mapping[str, Callable[[set[str], set[str]], bool]]] = {
    "tags": lambda asked, has: asked <= has,
    "tags-any": lambda asked, has: bool(asked & has),
    "not-tags": lambda asked, has: not asked <= has,
    "not-tags-any": lambda asked, has: not asked & has,
}


@dataclass(frozen=True)
class Collection:
    """A resource type. `attributes` are those that can be filtered by."""

    kind: str  # as in "PortNotFound"
    key: str  # as in {"ports": [...]}
    attributes: frozenset[str]


PORTS: Final = Collection(
    "Port",
    "ports",
    frozenset(
        (
            "id",
            "name",
            "network_id",
            "project_id",
            "tenant_id",
            "mac_address",
            "status",
            "device_id",
            "device_owner",
            "fixed_ips",
            "security_groups",
            "admin_state_up",
            "description",
            "binding:host_id",
            "revision_number",
        )
    ),
)
NETWORKS: Final = Collection(
    "Network",
    "networks",
    frozenset(("id", "name", "project_id", "tenant_id", "shared", "status", "router:external")),
)
SUBNETS: Final = Collection(
    "Subnet",
    "subnets",
    frozenset(
        (
            "id",
            "name",
            "network_id",
            "project_id",
            "tenant_id",
            "cidr",
            "ip_version",
            "enable_dhcp",
            "gateway_ip",
        )
    ),
)
POLICIES: Final = Collection(
    "QosPolicy", "policies", frozenset(("id", "name", "project_id", "tenant_id", "shared"))
)
GROUPS: Final = Collection(
    "SecurityGroup", "security_groups", frozenset(("id", "name", "project_id", "tenant_id"))
)


def list_response(
    request: Request,
    collection: Collection,
    items: Iterable[Json],
    *,
    page_limit: int = 0,
    validates: bool = False,
) -> Response:
    """Return the items that the query asks for; `page_limit` is the server's own, 0 is none."""
    filters = {k: v for k, v in request.query.items() if k not in _NO_FILTERS}
    known = collection.attributes | _TAG_FILTERS.keys()
    unknown = sorted(filters.keys() - known)
    if validates and unknown:
        message = f"{unknown} is invalid attribute for filtering"
        raise ApiError(neutron_error(400, "HTTPBadRequest", message))
    checks = [_check(key, values) for key, values in filters.items() if key in known]
    found = [item for item in items if all(check(item) for check in checks)]
    page, links = _page(request, collection, found, page_limit)
    body: Json = {collection.key: [_selected(item, request.query.get("fields")) for item in page]}
    return Response(200, body | ({f"{collection.key}_links": links} if links else {}))


def _check(key: str, values: Sequence[str]) -> Callable[[Json], bool]:
    if key in _TAG_FILTERS:
        asked = {tag for value in values for tag in value.split(",")}
        return lambda item: _TAG_FILTERS[key](asked, set(item["tags"]))
    if key == "fixed_ips":
        return _address_check(values)
    if key == "security_groups":
        return lambda item: not set(values).isdisjoint(item[key])
    wanted = {value.lower() if value.lower() in ("true", "false") else value for value in values}
    return lambda item: _text(item.get(key)) in wanted


def _address_check(values: Sequence[str]) -> Callable[[Json], bool]:
    """Return the check of `fixed_ips=subnet_id=S` and `fixed_ips=ip_address=A`, or both."""
    parts: dict[str, set[str]] = {}
    for value in values:
        key, _, text = value.partition("=")
        parts.setdefault(key, set()).add(text)
    return lambda item: any(
        all(address.get(key) in texts for key, texts in parts.items())
        for address in item["fixed_ips"]
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _page(
    request: Request, collection: Collection, found: list[Json], page_limit: int
) -> tuple[list[Json], list[dict[str, str]]]:
    """Return a page and its links; without a limit, all, in the order of the database."""
    limit = _limit(request)
    if page_limit:
        limit = min(limit, page_limit) or page_limit
    if not limit:
        return found, []
    ordered = sorted(found, key=lambda item: item["id"])
    for marker in request.query.get("marker", []):
        if marker not in {item["id"] for item in ordered}:
            raise ApiError(not_found(collection.kind, marker))
        ordered = [item for item in ordered if item["id"] > marker]
    page = ordered[:limit]
    if len(page) < limit:
        return page, []
    query = {k: v for k, v in request.query.items() if k != "marker"}
    query |= {"marker": [page[-1]["id"]]}
    href = f"{request.base_url}{request.path}?{urlencode(query, doseq=True)}"
    return page, [{"rel": "next", "href": href}]


def _limit(request: Request) -> int:
    text = request.query.get("limit", ["0"])[0]
    if not text.isdigit():
        message = f"Limit must be an integer 0 or greater and not '{text}'"
        raise ApiError(neutron_error(400, "BadRequest", message))
    return int(text)


def _selected(item: Json, fields: Sequence[str] | None) -> Json:
    return item if not fields else {k: v for k, v in item.items() if k in fields}
