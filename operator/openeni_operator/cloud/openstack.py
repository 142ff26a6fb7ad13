"""openstacksdk as a Cloud; the only importer of openstack and keystoneauth1.

What it is wary of, read in the source of openstacksdk 4.22 and keystoneauth 5.18: no time-out
unless set; a transport retry turns one slow POST into three; unknown or misspelt list filters are
dropped, so every list is filtered again here; service proxies are made without a lock, so they are
touched once before threads share them; HTTP errors and transport errors have no common ancestor;
`update(object)` sends nothing that looks unchanged, so ids are passed.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import openstack.config
import openstack.connection
import openstack.exceptions
from keystoneauth1 import exceptions as keystone
from keystoneauth1.session import TCPKeepAliveAdapter

from openeni_crds.terms import SecurityGroupTerm, SubnetTerm, selects
from openeni_operator.cloud.answers import Answer, meaning, no_answer, one_line
from openeni_operator.cloud.api import (
    FixedIP,
    Network,
    NewPort,
    Port,
    Quota,
    SecurityGroup,
    Server,
    Subnet,
)
from openeni_operator.cloud.budget import Sort
from openeni_operator.cloud.calls import Door
from openeni_operator.cloud.errors import (
    CloudError,
    CredentialsInvalidError,
    InvalidError,
    NotConfiguredError,
    NotFoundError,
)

T = TypeVar("T")
_CONNECTIONS: Final = 32  # at most as many calls are in flight; requests keeps 10 by default
_SELF_MADE: Final = ("slaac", "dhcpv6-stateless")  # IPv6 modes in which Neutron derives addresses


def connect(file: Path, name: str, door: Door, timeout: float) -> "OpenStackCloud":
    """Read the entry `name` of a clouds.yaml and log in. `timeout`, in seconds, is each call's.

    Raises a CloudError.
    """
    connection = door.call(
        "connect",
        Sort.READ,
        lambda: _connection(file, name, timeout),
        lambda error, sort: _classify(error, sort, name),
    )
    return OpenStackCloud(connection, door)


class OpenStackCloud:
    """A Cloud; safe for threads."""

    def __init__(self, connection: Any, door: Door) -> None:
        self._network = connection.network
        self._compute = connection.compute
        self._connection = connection
        self._door = door

    def find_subnets(self, term: SubnetTerm) -> tuple[Subnet, ...]:
        return self._selected("find subnets", self._network.subnets, _subnet, term)

    def subnets_of(self, network_id: str) -> tuple[Subnet, ...]:
        found = self._list(
            "list subnets", lambda: map(_subnet, self._network.subnets(network_id=network_id))
        )
        return tuple(s for s in found if s.network_id == network_id)

    def find_security_groups(self, term: SecurityGroupTerm) -> tuple[SecurityGroup, ...]:
        return self._selected(
            "find security groups", self._network.security_groups, _security_group, term
        )

    def network(self, network_id: str) -> Network:
        return self._read("get network", lambda: _network(self._network.get_network(network_id)))

    def port_quota(self) -> Quota:
        project = self._connection.current_project_id
        return self._read(
            "get quota", lambda: _quota(self._network.get_quota(project, details=True).ports)
        )

    def port(self, port_id: str) -> Port:
        return self._read("get port", lambda: _port(self._network.get_port(port_id)))

    def ports_named(self, name: str) -> tuple[Port, ...]:
        found = self._list("find port", lambda: map(_port, self._network.ports(name=name)))
        return tuple(p for p in found if p.name == name)

    def ports_on(self, network_id: str) -> tuple[Port, ...]:
        found = self._list(
            "list ports", lambda: map(_port, self._network.ports(network_id=network_id))
        )
        return tuple(p for p in found if p.network_id == network_id)

    def create_port(self, wanted: NewPort) -> Port:
        fixed_ips = [{"subnet_id": s} for s in wanted.subnet_ids for _ in range(wanted.count)]
        return self._write(
            "create port",
            wanted.name,
            lambda: _port(
                self._network.create_port(
                    name=wanted.name,
                    network_id=wanted.network_id,
                    fixed_ips=fixed_ips,
                    security_groups=list(wanted.security_group_ids),
                    tags=list(wanted.tags),
                )
            ),
        )

    def tag_port(self, port_id: str, tags: tuple[str, ...]) -> None:
        self._write("tag port", port_id, lambda: self._put_tags(port_id, tags))

    def delete_port(self, port_id: str) -> None:
        self._write("delete port", port_id, lambda: self._network.delete_port(port_id))

    def server(self, server_id: str) -> Server:
        return self._read("get server", lambda: _server(self._compute.get_server(server_id)))

    def attach(self, server_id: str, port_id: str) -> None:
        self._plug(
            "attach port",
            server_id,
            lambda: self._compute.create_server_interface(server_id, port_id=port_id),
        )

    def detach(self, server_id: str, port_id: str) -> None:
        self._plug(
            "detach port",
            server_id,
            lambda: self._compute.delete_server_interface(port_id, server=server_id),
        )

    def _put_tags(self, port_id: str, tags: tuple[str, ...]) -> None:
        answer = self._network.put(f"/ports/{port_id}/tags", json={"tags": list(tags)})
        openstack.exceptions.raise_from_response(answer)

    def _selected(
        self,
        operation: str,
        find: Callable[..., Any],
        turn: Callable[[Any], T],
        term: SubnetTerm | SecurityGroupTerm,
    ) -> tuple[T, ...]:
        """List by the term's filter, and apply it again to what comes."""
        asked = {"id": term.id, "name": term.name, "tags": ",".join(term.tags or ())}
        query = {key: value for key, value in asked.items() if value}
        found = self._list(operation, lambda: [i for i in find(**query) if _means(term, i)])
        return tuple(turn(i) for i in sorted(found, key=lambda i: (i.name or "", i.id)))

    def _list(self, operation: str, do: Callable[[], Iterable[T]]) -> tuple[T, ...]:
        return self._read(operation, lambda: tuple(do()))

    def _read(self, operation: str, do: Callable[[], T]) -> T:
        return self._door.call(operation, Sort.READ, do, self._classify)

    def _write(self, operation: str, port: str, do: Callable[[], T]) -> T:
        return self._door.call(operation, Sort.WRITE, do, self._classify, key=f"port/{port}")

    def _plug(self, operation: str, server: str, do: Callable[[], object]) -> None:
        self._door.call(operation, Sort.PLUG, do, self._classify, key=f"server/{server}")

    def _classify(self, error: Exception, sort: Sort) -> CloudError:
        return _classify(error, sort, self._door.cloud)


def _connection(file: Path, name: str, timeout: float) -> Any:
    try:
        region = openstack.config.OpenStackConfig(
            config_files=[str(file)],
            secure_files=[],
            vendor_files=[],
            load_envvars=False,
            app_name="openeni",
        ).get_one(
            cloud=name,
            api_timeout=timeout,
            network_connect_retries=0,
            compute_connect_retries=0,
        )
        connection = openstack.connection.Connection(config=region)
    except (openstack.exceptions.ConfigException, keystone.ClientException):
        raise
    except Exception as error:  # noqa: BLE001 whatever a user's file makes the parser raise
        raise _unreadable(file, error) from None
    adapter = TCPKeepAliveAdapter(pool_maxsize=_CONNECTIONS)
    for scheme in ("http://", "https://"):
        connection.session.session.mount(scheme, adapter)
    connection.session.get_token()  # its own authorize() hides what went wrong
    _ = connection.network.get_endpoint(), connection.compute.get_endpoint()
    return connection


def _unreadable(file: Path, error: Exception) -> NotConfiguredError:
    """The parser's own text quotes the file, which holds secrets: only the line is told."""
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark is not None else ""
    return NotConfiguredError(f"{file.name}{where}: not a clouds.yaml ({type(error).__name__})")


def _classify(error: Exception, sort: Sort, cloud: str) -> CloudError:  # noqa: C901, PLR0911 a table
    match error:
        case CloudError():
            return error
        case openstack.exceptions.HttpException(response=response) if response is not None:
            return meaning(
                Answer(response.status_code, dict(response.headers), response.text), sort, cloud
            )
        case keystone.HttpError(http_status=int(status)):
            body = error.response.text if error.response is not None else ""
            return meaning(Answer(status, {}, body), sort, cloud)
        case openstack.exceptions.ConfigException():
            return NotConfiguredError(f"clouds.yaml: {one_line(str(error))}")
        case keystone.AuthPluginException() | keystone.AuthorizationFailure():
            return CredentialsInvalidError(
                f"entry {cloud!r} of clouds.yaml is incomplete: {one_line(str(error))}"
            )
        case keystone.CatalogException():
            return NotConfiguredError(
                f"cloud {cloud!r}: {one_line(str(error))}; "
                "correct region_name or interface in clouds.yaml"
            )
        case openstack.exceptions.NotFoundException():
            return NotFoundError(f"cloud {cloud!r} says: {one_line(str(error))}")
        case keystone.ClientException() | openstack.exceptions.SDKException() | OSError():
            return no_answer(
                f"no answer from cloud {cloud!r} ({type(error).__name__}): check that auth_url in "
                "clouds.yaml can be reached from here; the operator keeps trying",
                sort,
            )
        case _:
            return InvalidError(f"cloud {cloud!r}: {type(error).__name__}: {one_line(str(error))}")


def _means(term: SubnetTerm | SecurityGroupTerm, found: Any) -> bool:
    return selects(term, found.id, found.name or "", found.tags or ())


def _port(found: Any) -> Port:
    return Port(
        id=found.id,
        name=found.name or "",
        network_id=found.network_id or "",
        mac_address=found.mac_address or "",
        status=found.status or "",
        device_id=found.device_id or "",
        fixed_ips=tuple(FixedIP(f["subnet_id"], f["ip_address"]) for f in found.fixed_ips or ()),
        tags=frozenset(found.tags or ()),
        revision=found.revision_number or 0,
        created_at=found.created_at or "",
    )


def _subnet(found: Any) -> Subnet:
    modes = (found.ipv6_address_mode, found.ipv6_ra_mode)
    return Subnet(
        id=found.id,
        name=found.name or "",
        network_id=found.network_id,
        cidr=found.cidr,
        ip_version=found.ip_version,
        gateway=found.gateway_ip or "",
        dhcp=bool(found.is_dhcp_enabled),
        slaac=any(mode in _SELF_MADE for mode in modes),
        pools=tuple((p["start"], p["end"]) for p in found.allocation_pools or ()),
    )


def _network(found: Any) -> Network:
    return Network(found.id, found.name or "", found.mtu or 1500)


def _security_group(found: Any) -> SecurityGroup:
    return SecurityGroup(found.id, found.name or "")


def _server(found: Any) -> Server:
    return Server(found.id)


def _quota(found: Any) -> Quota:
    return Quota(int(found.get("limit", -1)), int(found.get("used", 0)))
