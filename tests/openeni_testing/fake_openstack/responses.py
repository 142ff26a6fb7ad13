"""Error responses in the words of Keystone, Neutron, Nova and a proxy in front of them."""

from dataclasses import replace
from typing import Final

from openeni_testing.fake_openstack.messages import Response

# nova/api/openstack/wsgi.py, Fault._fault_names
_NOVA_FAULTS: Final = {
    400: "badRequest",
    403: "forbidden",
    404: "itemNotFound",
    409: "conflictingRequest",
    429: "overLimit",
    503: "serviceUnavailable",
}


def neutron_error(status: int, error_type: str, message: str) -> Response:
    return Response(
        status, {"NeutronError": {"type": error_type, "message": message, "detail": ""}}
    )


def nova_error(status: int, message: str) -> Response:
    fault = _NOVA_FAULTS.get(status, "computeFault")
    return Response(status, {fault: {"code": status, "message": message}})


def unauthorized() -> Response:
    message = "The request you have made requires authentication."
    return Response(
        401,
        {"error": {"code": 401, "title": "Unauthorized", "message": message}},
        {"WWW-Authenticate": "Keystone uri='/identity'"},
    )


def policy_not_authorized(rule: str) -> Response:
    return neutron_error(403, "PolicyNotAuthorized", f"rule:{rule} is disallowed by policy")


def over_quota() -> Response:
    return neutron_error(409, "OverQuota", "Quota exceeded for resources: ['port'].")


def no_more_addresses(network_id: str) -> Response:
    return neutron_error(
        409,
        "IpAddressGenerationFailure",
        f"No more IP addresses available on network {network_id}.",
    )


def not_found(kind: str, name: str) -> Response:
    """Return Neutron's 404 for a "Port", a "Network", a "Subnet" or a "SecurityGroup"."""
    message = f"{kind} {name} could not be found."
    if kind == "SecurityGroup":  # neutron/extensions/securitygroup.py has other words
        message = f"Security group {name} does not exist"
    return neutron_error(404, f"{kind}NotFound", message)


def attach_failed(server_id: str) -> Response:
    """Return Nova's answer when libvirt fails, for want of a hot-plug slot or otherwise."""
    return nova_error(500, f"Failed to attach network adapter device to {server_id}")


def throttled(retry_after: int | None = None) -> Response:
    return Response(
        429,
        {"overLimit": {"code": 429, "message": "This request was rate-limited."}},
        {} if retry_after is None else {"Retry-After": str(retry_after)},
    )


def unavailable(retry_after: int | None = None) -> Response:
    """Return a proxy's answer while no API server behind it is up."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return replace(proxy_page(503), headers=headers)


def proxy_page(status: int) -> Response:
    """Return HTML of a proxy whose API server is gone (502) or does not answer in time (504)."""
    return Response(status, f"<html><body><h1>{status} Proxy Error</h1></body></html>\n")
