"""List the calls that `openstack` makes, as access rules of an application credential. Pure.

A service's keystonemiddleware compares a request with the rules (`validate_allowed_request` in
auth_token/__init__.py): method, service type and path, in which {name} is one segment and ** any
number of characters. Log-ins and the documents that list an API's versions need no rule.
"""

from dataclasses import dataclass
from typing import Final

NETWORK: Final = "network"
COMPUTE: Final = "compute"
IDENTITY: Final = "identity"  # which checks the rules of its own requests, too
# Behind a path of its own, as /networking/v2.0, or none. A rule's path begins with a slash
# (keystone/application_credential/schema.py).
_ANY_ROOT: Final = "/**"
_CREDENTIALS: Final = f"{_ANY_ROOT}v3/users/{{user_id}}/application_credentials"
_NEUTRON: Final = f"{_ANY_ROOT}v2.0"
_NOVA: Final = f"{_ANY_ROOT}v2.1/**"  # some clouds' endpoints have the project's ID here
_PORT: Final = f"{_NEUTRON}/ports/{{port_id}}"
_TAG: Final = f"{_PORT}/tags/{{tag}}"
_SERVER: Final = f"{_NOVA}servers/{{server_id}}"


@dataclass(frozen=True)
class AccessRule:
    """A method and a path of a service."""

    service: str
    method: str
    path: str


ACCESS_RULES: Final = (
    AccessRule(IDENTITY, "GET", f"{_CREDENTIALS}/{{application_credential_id}}"),
    AccessRule(NETWORK, "GET", f"{_NEUTRON}/networks/{{network_id}}"),
    AccessRule(NETWORK, "GET", f"{_NEUTRON}/subnets"),
    AccessRule(NETWORK, "GET", f"{_NEUTRON}/security-groups"),
    AccessRule(NETWORK, "GET", f"{_NEUTRON}/qos/policies"),
    AccessRule(NETWORK, "GET", f"{_NEUTRON}/extensions/{{alias}}"),
    AccessRule(NETWORK, "GET", f"{_NEUTRON}/quotas/{{project_id}}/details"),
    AccessRule(NETWORK, "GET", f"{_NEUTRON}/ports"),
    AccessRule(NETWORK, "POST", f"{_NEUTRON}/ports"),
    AccessRule(NETWORK, "GET", _PORT),
    AccessRule(NETWORK, "PUT", _PORT),
    AccessRule(NETWORK, "DELETE", _PORT),
    AccessRule(NETWORK, "PUT", _TAG),
    AccessRule(NETWORK, "DELETE", _TAG),
    AccessRule(COMPUTE, "GET", _SERVER),
    AccessRule(COMPUTE, "POST", f"{_SERVER}/os-interface"),
    AccessRule(COMPUTE, "DELETE", f"{_SERVER}/os-interface/{{port_id}}"),
)
