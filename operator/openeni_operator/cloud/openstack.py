"""Implement the Cloud protocol on openstacksdk, the only importer of openstack and keystoneauth1.

Precautions against openstacksdk 4.22 and keystoneauth 5.18, from reading their source: there is no
timeout unless one is set; a transport retry turns one slow POST into three; unknown or misspelt
list filters are dropped, so every list is filtered again here; service proxies are created without
a lock, so they are touched once before threads share them; HTTP errors and transport errors have no
common base class; `update(object)` omits what looks unchanged, so IDs are passed, not objects.
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
from openeni_operator.cloud.api import Network, NewPort, Place, Port, SecurityGroup, Subnet
from openeni_operator.cloud.budget import CallType
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.error_responses import (
    ErrorResponse,
    classify_response,
    first_line,
    no_response_error,
)
from openeni_operator.cloud.errors import (
    CloudError,
    CloudNotConfiguredError,
    CredentialsInvalidError,
    InvalidRequestError,
    ResourceNotFoundError,
)
from openeni_operator.cloud.sdk_objects import (
    to_limit,
    to_network,
    to_port,
    to_security_group,
    to_subnet,
)

T = TypeVar("T")
_POOL_SIZE: Final = 32  # above the sum of calls in flight; requests' default is 10


def connect(file: Path, name: str, limiter: CallLimiter, timeout: float) -> "OpenStackCloud":
    """Read the entry `name` of a clouds.yaml and log in.

    `timeout` is that of each call, in seconds. Raises a CloudError.
    """
    connection = limiter.call(
        "connect",
        CallType.READ,
        lambda: _connection(file, name, timeout),
        lambda error, call_type: _classify(error, call_type, name),
    )
    return OpenStackCloud(connection, limiter)


class OpenStackCloud:
    """A thread-safe Cloud."""

    def __init__(self, connection: Any, limiter: CallLimiter) -> None:
        self._network = connection.network
        self._compute = connection.compute
        self._place = Place(connection.current_project_id, connection.config.region_name or "")
        self._limiter = limiter

    @property
    def place(self) -> Place:
        return self._place

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

    def network(self, network_id: str) -> Network:
        return self._read("get network", lambda: to_network(self._network.get_network(network_id)))

    def port_quota(self) -> int:
        project = self._place.project_id
        return self._read(
            "get quota", lambda: to_limit(self._network.get_quota(project, details=True).ports)
        )

    def port(self, port_id: str) -> Port:
        return self._read("get port", lambda: to_port(self._network.get_port(port_id)))

    def ports_named(self, name: str) -> tuple[Port, ...]:
        found = self._list("find port", lambda: map(to_port, self._network.ports(name=name)))
        return tuple(p for p in found if p.name == name)

    def ports_on(self, network_id: str) -> tuple[Port, ...]:
        found = self._list(
            "list ports", lambda: map(to_port, self._network.ports(network_id=network_id))
        )
        return tuple(p for p in found if p.network_id == network_id)

    def create_port(self, wanted: NewPort) -> Port:
        fixed_ips = [{"subnet_id": s} for s in wanted.subnet_ids for _ in range(wanted.count)]
        return self._write(
            "create port",
            wanted.name,
            lambda: to_port(
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

    def server_exists(self, server_id: str) -> bool:
        try:
            self._read("get server", lambda: self._compute.get_server(server_id))
        except ResourceNotFoundError:
            return False
        return True

    def attach(self, server_id: str, port_id: str) -> None:
        self._attachment(
            "attach port",
            server_id,
            lambda: self._compute.create_server_interface(server_id, port_id=port_id),
        )

    def detach(self, server_id: str, port_id: str) -> None:
        self._attachment(
            "detach port",
            server_id,
            lambda: self._compute.delete_server_interface(port_id, server=server_id),
        )

    def _put_tags(self, port_id: str, tags: tuple[str, ...]) -> None:
        response = self._network.put(f"/ports/{port_id}/tags", json={"tags": list(tags)})
        openstack.exceptions.raise_from_response(response)

    def _selected(
        self,
        operation: str,
        find: Callable[..., Any],
        convert: Callable[[Any], T],
        term: SubnetTerm | SecurityGroupTerm,
    ) -> tuple[T, ...]:
        """List with the term as the filter, then filter again."""
        filters = {"id": term.id, "name": term.name, "tags": ",".join(term.tags or ())}
        query = {key: value for key, value in filters.items() if value}
        found = self._list(operation, lambda: [i for i in find(**query) if _matches(term, i)])
        return tuple(convert(i) for i in sorted(found, key=lambda i: (i.name or "", i.id)))

    def _list(self, operation: str, do: Callable[[], Iterable[T]]) -> tuple[T, ...]:
        return self._read(operation, lambda: tuple(do()))

    def _read(self, operation: str, do: Callable[[], T]) -> T:
        return self._limiter.call(operation, CallType.READ, do, self._classify)

    def _write(self, operation: str, port: str, do: Callable[[], T]) -> T:
        return self._limiter.call(operation, CallType.WRITE, do, self._classify, key=f"port/{port}")

    def _attachment(self, operation: str, server: str, do: Callable[[], object]) -> None:
        self._limiter.call(operation, CallType.ATTACH, do, self._classify, key=f"server/{server}")

    def _classify(self, error: Exception, call_type: CallType) -> CloudError:
        return _classify(error, call_type, self._limiter.cloud)


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
    except Exception as error:  # noqa: BLE001 a malformed file makes the parser raise anything
        raise _unreadable(file, error) from None
    adapter = TCPKeepAliveAdapter(pool_maxsize=_POOL_SIZE)
    for scheme in ("http://", "https://"):
        connection.session.session.mount(scheme, adapter)
    connection.session.get_token()  # Connection.authorize() hides the cause
    _ = connection.network.get_endpoint(), connection.compute.get_endpoint()
    return connection


def _unreadable(file: Path, error: Exception) -> CloudNotConfiguredError:
    """Name the line only: the parser's message quotes the file, which holds secrets."""
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark is not None else ""
    return CloudNotConfiguredError(
        f"{file.name}{where}: not a valid clouds.yaml ({type(error).__name__})"
    )


def _classify(error: Exception, call_type: CallType, cloud: str) -> CloudError:  # noqa: C901, PLR0911 a table
    match error:
        case CloudError():
            return error
        case openstack.exceptions.HttpException(response=response) if response is not None:
            return classify_response(
                ErrorResponse(response.status_code, dict(response.headers), response.text),
                call_type,
                cloud,
            )
        case keystone.HttpError(http_status=int(status)):
            body = error.response.text if error.response is not None else ""
            return classify_response(ErrorResponse(status, {}, body), call_type, cloud)
        case openstack.exceptions.ConfigException():
            return CloudNotConfiguredError(f"clouds.yaml: {first_line(str(error))}")
        case keystone.AuthPluginException() | keystone.AuthorizationFailure():
            return CredentialsInvalidError(
                f"entry {cloud!r} of clouds.yaml is incomplete: {first_line(str(error))}"
            )
        case keystone.CatalogException():
            return CloudNotConfiguredError(
                f"cloud {cloud!r}: {first_line(str(error))}; "
                "correct region_name or interface in clouds.yaml"
            )
        case openstack.exceptions.NotFoundException():
            return ResourceNotFoundError(f"cloud {cloud!r} returned: {first_line(str(error))}")
        case keystone.ClientException() | openstack.exceptions.SDKException() | OSError():
            return no_response_error(
                f"cloud {cloud!r} does not respond ({type(error).__name__}): make its auth_url in "
                "clouds.yaml reachable from the operator, which keeps retrying",
                call_type,
            )
        case _:
            return InvalidRequestError(
                f"cloud {cloud!r}: {type(error).__name__}: {first_line(str(error))}"
            )


def _matches(term: SubnetTerm | SecurityGroupTerm, found: Any) -> bool:
    return selects(term, found.id, found.name or "", found.tags or ())
