"""The state of one fake cloud: its resources, its clock and what it will do later."""

import datetime as dt
import heapq
import itertools
import random
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, Final

from openeni_testing.fake_openstack.messages import Moment
from openeni_testing.fake_openstack.port_table import PortTable
from openeni_testing.fake_openstack.resources import (
    NetworkRecord,
    PortRecord,
    QoSPolicyRecord,
    SecurityGroupRecord,
    ServerRecord,
    SubnetRecord,
)

EXTENSIONS: Final = (
    "allowed-address-pairs",
    "net-mtu",
    "port-security",
    "project-id",
    "qos",
    "quota_details",
    "quotas",
    "revision-if-match",
    "security-group",
    "standard-attr-revisions",
    "standard-attr-tag",
    "tag-ports-during-bulk-creation",
)


@dataclass
class Settings:
    """How the cloud is configured and how it behaves; tests change it at any time."""

    port_quota: int = 500  # of each project; -1 is unlimited
    drops_tags: bool = False  # in a POST: without `tag-ports-during-bulk-creation`
    ignores_if_match: bool = False  # LP#1909008: Neutron's retry of a PUT has lost its condition
    page_limit: int = 0  # pagination_max_limit of neutron.conf; 0 is none
    list_lag_seconds: float = 0.0  # until lists show a change
    list_lag_calls: int = 0  # this many calls after a change do not see it in lists
    attach_seconds: float = 0.0  # from Nova's answer until the port is ACTIVE
    detach_seconds: float = 0.0  # from Nova's answer until the port is unbound
    token_seconds: float = 3600.0
    extensions: set[str] = field(default_factory=lambda: set(EXTENSIONS))


class CloudState:
    """Thread-safe for tests by its methods; the services hold `lock` during a whole call."""

    def __init__(self, project_id: str, clock: Callable[[], float], dice: random.Random) -> None:
        self.project_id = project_id  # of what tests add
        self.clock = clock
        self.dice = dice
        self.lock = threading.RLock()
        self.settings = Settings()
        self.networks: dict[str, NetworkRecord] = {}
        self.subnets: dict[str, SubnetRecord] = {}
        self.groups: dict[str, SecurityGroupRecord] = {}
        self.policies: dict[str, QoSPolicyRecord] = {}
        self.servers: dict[str, ServerRecord] = {}
        self.ports = PortTable()
        self.call_number = 0  # of the latest call of an API, log-ins and discovery left out
        self._started = dt.datetime.now(dt.UTC), clock()
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count(1)

    def add_network(
        self,
        name: str = "",
        *,
        mtu: int = 1450,
        shared: bool = False,
        project_id: str = "",
        port_security: bool = True,
    ) -> NetworkRecord:
        with self.lock:
            owner = project_id or self.project_id
            network = NetworkRecord(self.new_id(), name, owner, mtu, shared, port_security)
            self.networks[network.id] = network
            return network

    def add_subnet(
        self,
        network: NetworkRecord,
        name: str,
        cidr: str,
        *,
        dhcp: bool = False,
        ipv6_mode: str = "",
        tags: tuple[str, ...] = (),
    ) -> SubnetRecord:
        """Add a subnet whose pool is all of it but the gateway, its first address."""
        net = ip_network(cidr)
        last = int(net.broadcast_address) - (1 if net.version == 4 else 0)
        pool = (str(net.network_address + 2), str(ip_address(last)))
        with self.lock:
            subnet = SubnetRecord(
                self.new_id(),
                name,
                network.id,
                network.project_id,
                cidr,
                (pool,),
                dhcp=dhcp,
                ipv6_mode=ipv6_mode,
                tags=tags,
            )
            self.subnets[subnet.id] = subnet
            return subnet

    def add_group(self, name: str, *, tags: tuple[str, ...] = ()) -> SecurityGroupRecord:
        with self.lock:
            group = SecurityGroupRecord(self.new_id(), name, self.project_id, tags)
            self.groups[group.id] = group
            return group

    def add_policy(self, name: str, *, project_id: str = "") -> QoSPolicyRecord:
        with self.lock:
            policy = QoSPolicyRecord(self.new_id(), name, project_id or self.project_id)
            self.policies[policy.id] = policy
            return policy

    def add_server(self, name: str = "", *, project_id: str = "") -> ServerRecord:
        with self.lock:
            server = ServerRecord(self.new_id(), name, project_id or self.project_id)
            self.servers[server.id] = server
            return server

    def remove_server(self, server_id: str, *, with_ports: bool = False) -> None:
        """Delete a server. Nova unbinds its ports; it deletes them if its cache was lost."""
        with self.lock:
            del self.servers[server_id]
            for port in [p for p in self.ports.all() if p.device_id == server_id]:
                if with_ports:
                    self.delete_port(port.id)
                else:
                    self.unbind(port.id)

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.dice.getrandbits(128), version=4))

    def new_mac(self) -> str:
        number = next(self._numbers)
        return f"fa:16:3e:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"

    def timestamp(self) -> str:
        """Return the time in Neutron's format; it moves with the cloud's clock."""
        date, seconds = self._started
        now = date + dt.timedelta(seconds=self.clock() - seconds)
        return now.strftime("%Y-%m-%dT%H:%M:%SZ")

    def now(self) -> Moment:
        return Moment(self.clock(), self.call_number)

    def list_moment(self) -> Moment | None:
        """Return what lists show; None is the present."""
        if not (self.settings.list_lag_seconds or self.settings.list_lag_calls):
            return None
        return self.moment_before(self.settings.list_lag_seconds, self.settings.list_lag_calls)

    def moment_before(self, seconds: float, calls: int) -> Moment:
        """Return the moment so many seconds ago, at which the last calls had not been made."""
        return Moment(self.clock() - seconds, self.call_number - calls - bool(calls))

    def store_port(self, port: PortRecord) -> None:
        with self.lock:
            self.ports.put(port, self.now())

    def update_port(self, port_id: str, **changes: Any) -> PortRecord:
        """Change a port, if this changes anything, and bump its revision."""
        with self.lock:
            port = self.ports.get(port_id)
            assert port is not None, f"no port {port_id}"
            if replace(port, **changes) == port:
                return port
            changed = replace(
                port, **changes, revision=port.revision + 1, updated_at=self.timestamp()
            )
            self.ports.put(changed, self.now())
            return changed

    def delete_port(self, port_id: str) -> None:
        """Delete a port and free its addresses, at once; its NIC leaves the guest later."""
        with self.lock:
            self.ports.remove(port_id, self.now())
            for server in self.servers.values():
                if port_id in server.nics:
                    unplug = partial(server.nics.discard, port_id)
                    self.run_later(self.settings.detach_seconds, unplug)

    def unbind(self, port_id: str) -> None:
        self.update_port(port_id, device_id="", device_owner="", host="", status="DOWN")

    def run_later(self, seconds: float, work: Callable[[], object]) -> None:
        """Do the work so many seconds from now: before the first call at or after that time."""
        with self.lock:
            if seconds <= 0:
                work()
            else:
                heapq.heappush(self._later, (self.clock() + seconds, next(self._numbers), work))

    def settle(self) -> None:
        """Do all delayed work that is due by now."""
        with self.lock:
            while self._later and self._later[0][0] <= self.clock():
                heapq.heappop(self._later)[2]()
