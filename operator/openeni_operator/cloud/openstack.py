"""Implement the Cloud protocol on openstacksdk.

Precautions against openstacksdk 4.22, from reading its source: unknown or misspelt list filters are
dropped, so every list is filtered again here; `update(object)` omits what looks unchanged, so IDs
are passed, not objects.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote

import openstack.exceptions

from openeni_crds.terms import (
    QoSPolicyTerm,
    SecurityGroupTerm,
    SubnetTerm,
    Term,
    selects,
    tags_of,
)
from openeni_operator.cloud.admission import Call
from openeni_operator.cloud.api import (
    FixedIP,
    Network,
    NewPort,
    Place,
    Port,
    PortQuota,
    QoSPolicy,
    SecurityGroup,
    Subnet,
)
from openeni_operator.cloud.budget import CallType
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.errors import (
    CloudError,
    DeniedError,
    InvalidRequestError,
    QoSUnsupportedError,
    ResourceConflictError,
    ResourceNotFoundError,
)
from openeni_operator.cloud.sdk_connection import open_connection, read_expiry, region_of
from openeni_operator.cloud.sdk_errors import classify
from openeni_operator.cloud.sdk_objects import (
    checked,
    fixed_ip_body,
    port_of,
    to_network,
    to_port,
    to_qos_policy,
    to_quota,
    to_security_group,
    to_subnet,
)
from openeni_operator.cloud.sdk_port_list import ListedPort

T = TypeVar("T")
NETWORK: Final = "network"
COMPUTE: Final = "compute"
IDENTITY: Final = "identity"
IF_MATCH: Final = "revision-if-match"  # an extension of Neutron
# Fixed IPs that no port can get, in a subnet that no cloud has: Neutron asks its policy about them
# before it looks for the subnet (pecan_wsgi/hooks/policy_enforcement.py).
NO_SUBNET: Final = "00000000-0000-0000-0000-000000000000"
NOWHERE: Final = [{"subnet_id": NO_SUBNET}, {"subnet_id": NO_SUBNET, "ip_address": "192.0.2.1"}]


def connect(file: Path, name: str, limiter: CallLimiter, timeout: float) -> "OpenStackCloud":
    """Read the entry `name` of a clouds.yaml and log in.

    `timeout` is that of each call, in seconds. Raises a CloudError.
    """
    connection = limiter.call(
        Call("connect", CallType.READ, ""),
        lambda: open_connection(file, name, timeout),
        lambda error, call_type: classify(error, call_type, name),
    )
    limiter.forget_failures()
    return OpenStackCloud(connection, limiter)


class OpenStackCloud:
    """A thread-safe Cloud."""

    def __init__(self, connection: Any, limiter: CallLimiter) -> None:
        self._connection = connection
        self._network = connection.network
        self._compute = connection.compute
        self._place = Place(connection.current_project_id, region_of(connection))
        self._limiter = limiter

    @property
    def place(self) -> Place:
        return self._place

    def credential_expiry(self) -> str | None:
        return self._read("get credential", lambda: read_expiry(self._connection), IDENTITY)

    def find_subnets(self, term: SubnetTerm) -> tuple[Subnet, ...]:
        return self._selected("find subnets", self._network.subnets, to_subnet, term)

    def subnets_of(self, network_id: str) -> tuple[Subnet, ...]:
        found = self._list(
            "list subnets", lambda: map(to_subnet, self._network.subnets(network_id=network_id))
        )
        return tuple(s for s in found if s.network_id == network_id)

    def find_security_groups(self, term: SecurityGroupTerm) -> tuple[SecurityGroup, ...]:
        return self._selected(
            "find security groups", self._network.security_groups, to_security_group, term
        )

    def find_qos_policies(self, term: QoSPolicyTerm) -> tuple[QoSPolicy, ...]:
        try:
            return self._selected(
                "find QoS policies", self._network.qos_policies, to_qos_policy, term
            )
        except ResourceNotFoundError:
            raise QoSUnsupportedError(
                f"cloud {self._limiter.cloud!r} has no QoS policies: remove spec.ports.qosPolicy "
                "of the ENIPool, or have Neutron's service plugin qos loaded"
            ) from None

    def network(self, network_id: str) -> Network:
        return self._read("get network", lambda: to_network(self._network.get_network(network_id)))

    def has_extension(self, alias: str) -> bool:
        path = f"/extensions/{alias}"
        try:
            self._read("get extension", lambda: _checked(self._network.get(path)))
        except ResourceNotFoundError:
            return False
        return True

    def port_quota(self) -> PortQuota:
        project = self._place.project_id
        return self._read(
            "get quota", lambda: to_quota(self._network.get_quota(project, details=True).ports)
        )

    def port(self, port_id: str) -> Port:
        return self._read("get port", lambda: to_port(self._network.get_port(port_id)))

    def ports_named(self, name: str) -> tuple[Port, ...]:
        return tuple(p for p in self._ports("find port", name=name) if p.name == name)

    def ports_on(self, network_id: str) -> tuple[Port, ...]:
        found = self._ports("list ports", network_id=network_id)
        return tuple(p for p in found if p.network_id == network_id)

    def ports_tagged(self, tag: str) -> tuple[Port, ...]:
        return tuple(p for p in self._ports("list tagged ports", tags=tag) if tag in p.tags)

    def create_port(self, wanted: NewPort, before: Callable[[], None] = lambda: None) -> Port:
        fixed_ips = [{"subnet_id": s} for s in wanted.subnet_ids for _ in range(wanted.count)]
        body: dict[str, Any] = {
            "name": wanted.name,
            "network_id": wanted.network_id,
            "fixed_ips": fixed_ips,
            "security_groups": list(wanted.security_group_ids),
            "tags": list(wanted.tags),
        }
        if wanted.qos_policy_id:  # a cloud without QoS does not know the attribute
            body["qos_policy_id"] = wanted.qos_policy_id
        return self._write(
            "create port", wanted.name, lambda: to_port(self._network.create_port(**body)), before
        )

    def tag_port(self, port_id: str, tag: str) -> None:
        path = _tag_path(port_id, tag)
        self._write("tag port", port_id, lambda: _checked(self._network.put(path)))

    def untag_port(self, port_id: str, tag: str) -> None:
        path = _tag_path(port_id, tag)
        with suppress(ResourceNotFoundError):  # it has no such tag
            self._write("untag port", port_id, lambda: _checked(self._network.delete(path)))

    def set_security_groups(
        self, port_id: str, group_ids: tuple[str, ...], *, enable_port_security: bool = False
    ) -> None:
        # merely sending the field needs the right
        security = {"port_security_enabled": True} if enable_port_security else {}
        self._update("set security groups", port_id, security_groups=list(group_ids), **security)

    def set_qos_policy(self, port_id: str, policy_id: str) -> None:
        self._update("set QoS policy", port_id, qos_policy_id=policy_id or None)

    def set_fixed_ips(self, port_id: str, fixed_ips: tuple[FixedIP, ...], revision: int) -> Port:
        wanted = [fixed_ip_body(fixed) for fixed in fixed_ips]
        return self._write(
            "set fixed IPs",
            port_id,
            lambda: to_port(
                self._network.update_port(port_id, if_revision=revision, fixed_ips=wanted)
            ),
        )

    def check_resizing(self, port_id: str) -> None:
        if not self.has_extension(IF_MATCH):
            raise DeniedError(
                f"cloud {self._limiter.cloud!r} lacks Neutron's extension {IF_MATCH}, without "
                "which two changes of a port can undo each other"
            )
        try:
            self._update("probe fixed IPs", port_id, fixed_ips=NOWHERE)
        except (InvalidRequestError, ResourceConflictError):
            return
        except ResourceNotFoundError:
            self.port(port_id)  # it is the subnet that does not exist, or the port is gone

    def delete_port(self, port_id: str) -> None:
        self._write("delete port", port_id, lambda: self._network.delete_port(port_id))

    def server_exists(self, server_id: str) -> bool:
        try:
            self._read(
                "get server",
                lambda: checked(self._compute.get_server(server_id), "status"),
                COMPUTE,
            )
        except ResourceNotFoundError:
            return False
        return True

    def attach(self, server_id: str, port_id: str) -> None:
        self._attachment(
            "attach port",
            server_id,
            port_id,
            lambda: self._compute.create_server_interface(server_id, port_id=port_id),
        )

    def detach(self, server_id: str, port_id: str) -> None:
        self._attachment(
            "detach port",
            server_id,
            port_id,
            lambda: self._compute.delete_server_interface(port_id, server=server_id),
        )

    def _update(self, operation: str, port_id: str, **attributes: Any) -> None:
        self._write(operation, port_id, lambda: self._network.update_port(port_id, **attributes))

    def _selected(
        self,
        operation: str,
        find: Callable[..., Any],
        convert: Callable[[Any], T],
        term: Term,
    ) -> tuple[T, ...]:
        """List with the term as the filter, then filter again."""
        filters = {"id": term.id, "name": term.name, "tags": ",".join(tags_of(term) or ())}
        query = {key: value for key, value in filters.items() if value}
        found = self._list(operation, lambda: [i for i in find(**query) if _matches(term, i)])
        return tuple(convert(i) for i in sorted(found, key=lambda i: (i.name or "", i.id)))

    def _ports(self, operation: str, **query: Any) -> tuple[Port, ...]:
        rows = partial(ListedPort.list, self._network, **query)
        return self._list(operation, lambda: (port_of(row.body) for row in rows()))

    def _list(self, operation: str, do: Callable[[], Iterable[T]]) -> tuple[T, ...]:
        return self._read(operation, lambda: tuple(do()))

    def _read(self, operation: str, do: Callable[[], T], service: str = NETWORK) -> T:
        return self._limiter.call(Call(operation, CallType.READ, service), do, self._classify)

    def _write(
        self,
        operation: str,
        port: str,
        do: Callable[[], T],
        before: Callable[[], None] = lambda: None,
    ) -> T:
        call = Call(operation, CallType.WRITE, NETWORK, port, exclusive=f"port/{port}")
        return self._limiter.call(call, do, self._classify, before)

    def _attachment(self, operation: str, server: str, port: str, do: Callable[[], object]) -> None:
        call = Call(operation, CallType.ATTACH, COMPUTE, port, exclusive=f"server/{server}")
        self._limiter.call(call, do, self._classify)

    def _classify(self, error: Exception, call_type: CallType) -> CloudError:
        return classify(error, call_type, self._limiter.cloud)


def _tag_path(port_id: str, tag: str) -> str:
    """Return the path of one tag: the SDK's set_tags would replace an administrator's."""
    return f"/ports/{port_id}/tags/{quote(tag, safe='')}"


def _checked(response: Any) -> None:
    openstack.exceptions.raise_from_response(response)


def _matches(term: Term, found: Any) -> bool:
    return selects(term, found.id, found.name or "", found.tags or ())
