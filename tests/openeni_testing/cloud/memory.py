"""A Cloud in memory, with the faults of a real one that the operator must survive.

It sorts addresses as text, and on request drops tags at creation, takes time to attach and detach,
loses responses after the work was done, or does the work late. The contract suite in
`tests/operator/cloud/test_contract.py` runs against it and against a real cloud. Time is a
`FakeClock`: nothing here waits.
"""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

from openeni_crds.terms import SecurityGroupTerm, SubnetTerm, selects
from openeni_operator.cloud.api import (
    ACTIVE,
    FixedIP,
    Network,
    NewPort,
    Place,
    Port,
    SecurityGroup,
    Subnet,
)
from openeni_operator.cloud.errors import (
    CloudError,
    OutcomeUnknownError,
    QuotaExceededError,
    ResourceConflictError,
    ResourceNotFoundError,
    SubnetExhaustedError,
)

T = TypeVar("T")
N = TypeVar("N", Subnet, SecurityGroup)


@dataclass
class FakeClock:
    """A clock that only `advance` moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Fault:
    """The next call of an operation raises `error`; if it `worked`, the work is done `late`."""

    error: Exception
    worked: bool = False
    late: float = 0.0  # seconds


@dataclass
class MemoryCloud:
    """One project. The attributes configure it; `calls` counts the calls of each operation."""

    clock: FakeClock = field(default_factory=FakeClock)
    place: Place = field(default_factory=lambda: Place("project-1", "here"))
    quota: int = 500
    drops_tags: bool = False
    tags_of: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    attach_seconds: float = 0.0  # from the response until the port is ACTIVE
    detach_seconds: float = 0.0
    list_lag: float = 0.0  # until lists show a new port: a database node that lags
    calls: Counter[str] = field(default_factory=Counter[str])
    ports: dict[str, Port] = field(default_factory=dict[str, Port])
    servers: set[str] = field(default_factory=set[str])
    networks: dict[str, Network] = field(default_factory=dict[str, Network])
    subnets: dict[str, Subnet] = field(default_factory=dict[str, Subnet])
    groups: dict[str, SecurityGroup] = field(default_factory=dict[str, SecurityGroup])
    faults: dict[str, list[Fault]] = field(default_factory=dict[str, list[Fault]])
    down: CloudError | None = None  # every call raises it
    after_call: Callable[[str], None] = lambda _: None
    _born: dict[str, float] = field(default_factory=dict[str, float])
    _later: list[tuple[float, Callable[[], object]]] = field(
        default_factory=list[tuple[float, Callable[[], object]]]
    )
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def add_network(self, *, mtu: int = 1450) -> Network:
        network = Network(self._id("network"), mtu)
        self.networks[network.id] = network
        return network

    def add_subnet(
        self, network: Network, name: str, cidr: str, *, dhcp: bool = False, slaac: bool = False
    ) -> Subnet:
        net = ip_network(cidr)
        first, last = int(net.network_address) + 2, int(net.broadcast_address) - 1
        pool = (str(ip_address(first)), str(ip_address(last)))
        subnet = Subnet(
            id=self._id("subnet"),
            name=name,
            network_id=network.id,
            cidr=cidr,
            ip_version=net.version,
            gateway=str(net.network_address + 1),
            dhcp=dhcp,
            slaac=slaac,
            pools=(pool,),
        )
        self.subnets[subnet.id] = subnet
        return subnet

    def add_group(self, name: str) -> SecurityGroup:
        group = SecurityGroup(self._id("group"), name)
        self.groups[group.id] = group
        return group

    def add_server(self) -> str:
        """Add a server and return its ID."""
        server_id = self._id("server")
        self.servers.add(server_id)
        return server_id

    def remove_server(self, server_id: str) -> None:
        """Remove the server as Nova does: its ports are unbound, not deleted."""
        self.servers.remove(server_id)
        for port in [p for p in self.ports.values() if p.device_id == server_id]:
            self._update(port, device_id="", status="DOWN")

    def fail(self, operation: str, *faults: Fault) -> None:
        """Make the next calls of the operation fail, one fault each."""
        self.faults.setdefault(operation, []).extend(faults)

    def find_subnets(self, term: SubnetTerm) -> tuple[Subnet, ...]:
        return self._call("find subnets", lambda: self._selected(self.subnets, term))

    def subnets_of(self, network_id: str) -> tuple[Subnet, ...]:
        return self._call(
            "list subnets",
            lambda: tuple(s for s in self.subnets.values() if s.network_id == network_id),
        )

    def find_security_groups(self, term: SecurityGroupTerm) -> tuple[SecurityGroup, ...]:
        return self._call("find groups", lambda: self._selected(self.groups, term))

    def network(self, network_id: str) -> Network:
        return self._call("get network", lambda: self._get(self.networks, network_id))

    def port_quota(self) -> int:
        return self._call("get quota", lambda: self.quota)

    def port(self, port_id: str) -> Port:
        return self._call("get port", lambda: self._get(self.ports, port_id))

    def ports_named(self, name: str) -> tuple[Port, ...]:
        return self._call("find port", lambda: tuple(p for p in self._shown() if p.name == name))

    def ports_on(self, network_id: str) -> tuple[Port, ...]:
        return self._call(
            "list ports",
            lambda: tuple(p for p in self._shown() if p.network_id == network_id),
        )

    def _shown(self) -> tuple[Port, ...]:
        """Return the ports that lists show by now."""
        latest = self.clock.now - self.list_lag
        return tuple(p for p in self.ports.values() if self._born.get(p.id, latest) <= latest)

    def create_port(self, wanted: NewPort) -> Port:
        return self._call("create port", lambda: self._create(wanted))

    def tag_port(self, port_id: str, tags: tuple[str, ...]) -> None:
        def work() -> None:
            self._update(self._get(self.ports, port_id), tags=frozenset(tags))

        self._call("tag port", work)

    def delete_port(self, port_id: str) -> None:
        self._call("delete port", lambda: self.ports.pop(port_id, None))

    def server_exists(self, server_id: str) -> bool:
        return self._call("get server", lambda: server_id in self.servers)

    def attach(self, server_id: str, port_id: str) -> None:
        self._call("attach", lambda: self._attach(server_id, port_id))

    def detach(self, server_id: str, port_id: str) -> None:
        def detach_now() -> None:
            port = self.ports.get(port_id)
            if port is not None and port.device_id == server_id:
                self._update(port, device_id="", status="DOWN")

        self._call("detach", lambda: self._run_after(self.detach_seconds, detach_now))

    def _create(self, wanted: NewPort) -> Port:
        if len(self.ports) >= self.quota:
            raise QuotaExceededError("Quota exceeded for resources: ['port'].")
        for subnet_id in wanted.subnet_ids:
            self._get(self.subnets, subnet_id)
        fixed: list[FixedIP] = []
        for subnet_id in wanted.subnet_ids:
            fixed += [FixedIP(subnet_id, a) for a in self._free(subnet_id, wanted.count)]
        number = next(self._numbers)
        port = Port(
            id=f"port-{number:04}",
            name=wanted.name,
            network_id=wanted.network_id,
            mac_address=f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}",
            fixed_ips=tuple(sorted(fixed, key=lambda f: f.address)),
            tags=frozenset[str]() if self.drops_tags else frozenset(wanted.tags),
            revision=1,
            created_at=f"2026-01-01T00:00:{number % 60:02}Z",
        )
        self.ports[port.id] = port
        self._born[port.id] = self.clock.now
        return port

    def _attach(self, server_id: str, port_id: str) -> None:
        if server_id not in self.servers:
            raise ResourceNotFoundError(f"{server_id} could not be found.")
        port = self._get(self.ports, port_id)
        if port.device_id:
            raise ResourceConflictError(f"Port {port_id} is still in use.")
        self._update(port, device_id=server_id, status="BUILD")

        def activate() -> None:
            now = self.ports.get(port_id)
            if now is not None and now.device_id == server_id:
                self._update(now, status=ACTIVE)

        self._run_after(self.attach_seconds, activate)

    def _free(self, subnet_id: str, count: int) -> list[str]:
        subnet = self.subnets[subnet_id]
        taken = {f.address for p in self.ports.values() for f in p.fixed_ips}
        low, high = (int(ip_address(a)) for a in subnet.pools[0])
        free = (a for n in range(low, high + 1) if (a := str(ip_address(n))) not in taken)
        found = list(itertools.islice(free, count))
        if len(found) < count:
            raise SubnetExhaustedError("No more IP addresses available on network.")
        return found

    def _update(self, port: Port, **changes: Any) -> None:
        changed = replace(port, revision=port.revision + 1, **changes)
        self.ports[port.id] = changed

    def _selected(self, known: dict[str, N], term: SubnetTerm | SecurityGroupTerm) -> tuple[N, ...]:
        found = (
            i for i in known.values() if selects(term, i.id, i.name, self.tags_of.get(i.id, ()))
        )
        return tuple(sorted(found, key=lambda i: (i.name, i.id)))

    def _get(self, known: dict[str, T], key: str) -> T:
        if key not in known:
            raise ResourceNotFoundError(f"{key} could not be found.")
        return known[key]

    def _id(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers):04}"

    def _run_after(self, seconds: float, work: Callable[[], object]) -> None:
        if seconds:
            self._later.append((self.clock.now + seconds, work))
        else:
            work()

    def _call(self, operation: str, work: Callable[[], T]) -> T:
        self.settle()
        self.calls[operation] += 1
        try:
            if self.down is not None:
                raise self.down
            fault = self.faults[operation].pop(0) if self.faults.get(operation) else None
            if fault is None:
                return work()
            if fault.worked:
                self._run_after(fault.late, lambda: self._suppress_errors(work))
            raise fault.error
        finally:
            self.after_call(operation)

    def _suppress_errors(self, work: Callable[[], object]) -> None:
        try:
            work()
        except CloudError:
            return

    def settle(self) -> None:
        """Do all delayed work that is due by now."""
        due = [work for at, work in self._later if at <= self.clock.now]
        self._later = [(at, work) for at, work in self._later if at > self.clock.now]
        for work in due:
            work()


def no_response() -> OutcomeUnknownError:
    return OutcomeUnknownError("no response")
