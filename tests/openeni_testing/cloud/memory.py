"""A Cloud in memory, with the faults of a real one that the operator must survive.

It sorts addresses as text, and on request drops tags, takes time to attach and detach, loses
responses after the work was done, or does it late. The contract suite in `tests/operator/cloud`
runs against it and against a real cloud. Time is a `FakeClock`: nothing here waits.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from openeni_crds.terms import QoSPolicyTerm, SecurityGroupTerm, SubnetTerm
from openeni_operator.cloud.api import (
    ACTIVE,
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
from openeni_operator.cloud.errors import (
    DeniedError,
    QoSUnsupportedError,
    QuotaExceededError,
    ResourceConflictError,
    ResourceNotFoundError,
    RevisionConflictError,
    SubnetExhaustedError,
)
from openeni_operator.cloud.openstack import IF_MATCH
from openeni_testing.cloud.faulty_calls import FaultyCalls
from openeni_testing.cloud.resources import PROJECT, Resources


@dataclass
class MemoryCloud(FaultyCalls, Resources):
    """One project. The attributes configure it."""

    place: Place = field(default_factory=lambda: Place(PROJECT, "here"))
    quota: int = 500
    drops_tags: bool = False  # at creation
    ignores_tags: bool = False  # later, too
    qos: bool = True  # it has QoS policies
    resizable: bool = True  # its policy lets the project change fixed IPs
    ignores_revision: bool = False  # of a change of fixed IPs (LP#1909008)
    attach_seconds: float = 0.0  # from the response until the port is ACTIVE
    missed_attachments: int = 0  # the next ones, whose ports stay DOWN: nobody wires them up
    detach_seconds: float = 0.0
    list_lag: float = 0.0  # until lists show a new port: a database node that lags
    hidden: set[str] = field(default_factory=set[str])  # ports that no read shows
    blind: bool = False  # it shows no port: a policy that hides them, or
    elsewhere: bool = False  # another project: no server, either
    ports: dict[str, Port] = field(default_factory=dict[str, Port])
    filled: set[str] = field(default_factory=set[str])  # subnets full of invisible ports
    _frozen: tuple[dict[str, Port], float] | None = None  # what reads show, and until when
    _born: dict[str, float] = field(default_factory=dict[str, float])

    def remove_server(self, server_id: str) -> None:
        """Remove the server as Nova does: its ports are unbound, not deleted."""
        self.servers.remove(server_id)
        for port in [p for p in self.ports.values() if p.device_id == server_id]:
            self._update(port, device_id="", status="DOWN")

    def add_address(self, port_id: str) -> None:
        """Add a fixed IP to the port, as somebody else may."""
        port = self.ports[port_id]
        subnet_id = port.fixed_ips[0].subnet_id
        (address,) = self._free(subnet_id, 1)
        self._update(port, fixed_ips=(*port.fixed_ips, FixedIP(subnet_id, address)))

    def find_subnets(self, term: SubnetTerm) -> tuple[Subnet, ...]:
        return self.call("find subnets", lambda: self._selected(self.subnets, term))

    def subnets_of(self, network_id: str) -> tuple[Subnet, ...]:
        found = (s for s in self.subnets.values() if s.network_id == network_id)
        return self.call("list subnets", lambda: tuple(found))

    def find_security_groups(self, term: SecurityGroupTerm) -> tuple[SecurityGroup, ...]:
        return self.call("find security groups", lambda: self._selected(self.groups, term))

    def find_qos_policies(self, term: QoSPolicyTerm) -> tuple[QoSPolicy, ...]:
        def work() -> tuple[QoSPolicy, ...]:
            if not self.qos:
                raise QoSUnsupportedError("the cloud has no QoS policies")
            return self._selected(self.policies, term)

        return self.call("find QoS policies", work)

    def network(self, network_id: str) -> Network:
        return self.call("get network", lambda: self._get(self.networks, network_id))

    def port_quota(self) -> PortQuota:
        return self.call("get quota", lambda: PortQuota(len(self.ports), self.quota))

    def port(self, port_id: str) -> Port:
        return self.call("get port", lambda: self._get(self._visible(), port_id))

    def ports_named(self, name: str) -> tuple[Port, ...]:
        return self.call("find port", lambda: tuple(p for p in self._shown() if p.name == name))

    def ports_on(self, network_id: str) -> tuple[Port, ...]:
        return self.call(
            "list ports", lambda: tuple(p for p in self._shown() if p.network_id == network_id)
        )

    def ports_tagged(self, tag: str) -> tuple[Port, ...]:
        return self.call(
            "list tagged ports", lambda: tuple(p for p in self._shown() if tag in p.tags)
        )

    def _shown(self) -> tuple[Port, ...]:
        """Return the ports that lists show by now."""
        latest = self.clock.now - self.list_lag
        shown = self._visible().values()
        return tuple(p for p in shown if self._born.get(p.id, latest) <= latest)

    def _visible(self) -> dict[str, Port]:
        if self.blind or self.elsewhere:
            return {}
        if self._frozen is not None and self.clock.now < self._frozen[1]:
            return self._frozen[0]
        return {k: port for k, port in self.ports.items() if k not in self.hidden}

    def freeze(self, seconds: float) -> None:
        """Let reads show the ports as they are now: a database node that is behind."""
        self._frozen = dict(self.ports), self.clock.now + seconds

    def create_port(self, wanted: NewPort, before: Callable[[], None] = lambda: None) -> Port:
        return self.call("create port", lambda: self._create(wanted), before)

    def tag_port(self, port_id: str, tag: str) -> None:
        def work() -> None:
            port = self._get(self.ports, port_id)
            if not self.ignores_tags:
                self._update(port, tags=port.tags | {tag})

        self.call("tag port", work)

    def untag_port(self, port_id: str, tag: str) -> None:
        def work() -> None:
            port = self.ports.get(port_id)
            if port is not None and tag in port.tags and not self.ignores_tags:
                self._update(port, tags=port.tags - {tag})

        self.call("untag port", work)

    def set_security_groups(
        self, port_id: str, group_ids: tuple[str, ...], *, enable_port_security: bool = False
    ) -> None:
        def work() -> None:
            for group_id in group_ids:
                self._get(self.groups, group_id)
            port = self._get(self.ports, port_id)
            security = True if enable_port_security else port.port_security
            self.check_security(security, group_ids)
            self._update(port, security_group_ids=frozenset(group_ids), port_security=security)

        self.call("set security groups", work)

    def disable_port_security(self, port_id: str) -> None:
        """Do what somebody else may, who has to take the groups off with it."""
        self._update(self.ports[port_id], security_group_ids=frozenset(), port_security=False)

    def set_qos_policy(self, port_id: str, policy_id: str) -> None:
        def work() -> None:
            port = self._get(self.ports, port_id)
            self._update(port, qos_policy_id=self._known_policy(policy_id))

        self.call("set QoS policy", work)

    def set_fixed_ips(self, port_id: str, fixed_ips: tuple[FixedIP, ...], revision: int) -> Port:
        def work() -> Port:
            port = self._get(self.ports, port_id)
            if not self.resizable:
                raise DeniedError("rule:update_port:fixed_ips is disallowed by policy")
            found = self._replaced(port, fixed_ips)
            if set(found) == set(port.fixed_ips):
                return port  # Neutron compares revisions when it writes (revision_plugin.py)
            if revision != port.revision and not self.ignores_revision:
                raise RevisionConflictError(f"Constrained to {revision}, but it is {port.revision}")
            self._update(port, fixed_ips=tuple(sorted(found, key=lambda f: f.address)))
            return self.ports[port_id]

        return self.call("set fixed IPs", work)

    def check_resizing(self, port_id: str) -> None:
        if not self.has_extension(IF_MATCH):
            raise DeniedError(f"the cloud lacks {IF_MATCH}")

        def work() -> None:
            self._get(self.ports, port_id)
            if not self.resizable:
                raise DeniedError("rule:update_port:fixed_ips is disallowed by policy")

        self.call("probe fixed IPs", work)

    def _replaced(self, port: Port, wanted: tuple[FixedIP, ...]) -> list[FixedIP]:
        """Return the fixed IPs of a PUT: any address is one that the port has, if it has one."""
        taken = {f for p in self.ports.values() if p.id != port.id for f in p.fixed_ips}
        for fixed in taken & set(wanted):
            raise ResourceConflictError(f"IP address {fixed.address} already allocated in subnet")
        found = [f for f in wanted if f.address]
        for subnet_id in {f.subnet_id for f in wanted}:
            more = sum(not f.address for f in wanted if f.subnet_id == subnet_id)
            left = (f for f in port.fixed_ips if f.subnet_id == subnet_id and f not in found)
            reused = list(itertools.islice(left, more))
            new = self._free(subnet_id, more - len(reused))
            found += [*reused, *(FixedIP(subnet_id, address) for address in new)]
        return found

    def _known_policy(self, policy_id: str) -> str:
        return self._get(self.policies, policy_id).id if policy_id else ""

    def delete_port(self, port_id: str) -> None:
        self.call("delete port", lambda: self.ports.pop(port_id, None))

    def server_exists(self, server_id: str) -> bool:
        return self.call("get server", lambda: server_id in self.servers and not self.elsewhere)

    def attach(self, server_id: str, port_id: str) -> None:
        self.call("attach port", lambda: self._attach(server_id, port_id))

    def detach(self, server_id: str, port_id: str) -> None:
        def detach_now() -> None:
            port = self.ports.get(port_id)
            if port is not None and port.device_id == server_id:
                self._update(port, device_id="", status="DOWN")

        self.call("detach port", lambda: self.after(self.detach_seconds, detach_now))

    def _create(self, wanted: NewPort) -> Port:
        if len(self.ports) >= self.quota:
            raise QuotaExceededError("Quota exceeded for resources: ['port'].")
        for subnet_id in wanted.subnet_ids:
            self._get(self.subnets, subnet_id)
        security = self._get(self.networks, wanted.network_id).port_security
        self.check_security(security, wanted.security_group_ids)
        fixed: list[FixedIP] = []
        for subnet_id in wanted.subnet_ids:
            fixed += [FixedIP(subnet_id, a) for a in self._free(subnet_id, wanted.count)]
        number = next(self.numbers)
        mac = f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}"
        fixed += self.derived(wanted.network_id, mac)
        port = Port(
            id=f"port-{number:04}",
            name=wanted.name,
            network_id=wanted.network_id,
            mac_address=mac,
            fixed_ips=tuple(sorted(fixed, key=lambda f: f.address)),
            tags=frozenset[str]() if self.drops_tags else frozenset(wanted.tags),
            security_group_ids=frozenset(wanted.security_group_ids),
            port_security=security,
            qos_policy_id=self._known_policy(wanted.qos_policy_id),
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
        self.check_slot(server_id, (p.device_id for p in self.ports.values()))
        missed = self.missed_attachments > 0
        self.missed_attachments -= missed
        self._update(port, device_id=server_id, status="DOWN" if missed else "BUILD")

        def activate() -> None:
            now = self.ports.get(port_id)
            if now is not None and now.device_id == server_id and not missed:
                self._update(now, status=ACTIVE)

        self.after(self.attach_seconds, activate)

    def _free(self, subnet_id: str, count: int) -> list[str]:
        subnet = self.subnets[subnet_id]
        if subnet_id in self.filled:
            raise SubnetExhaustedError("No more IP addresses available on network.")
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
