"""Compare ENIs, PodIPs and ports of Neutron: ordered differences over facts. Pure.

What the objects themselves say to be in progress is no difference: `openeni status` has it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Final, TypeAlias

from openeni_crds.conditions import Reason, Status, Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import parse_time
from openeni_crds.names import ENIS, PODIPS, port_tags
from openeni_crds.podip import PodIP
from openeni_crds.status.eni import PortStatus
from openeni_kube.answers import Difference, difference
from openeni_operator.cloud.api import ACTIVE, Place, Port
from openeni_operator.eni.port_settings import settings_of
from openeni_operator.sweep.ownership import named_enis
from openeni_operator.sweep.plan import MIN_AGE

PORT: Final = "Port"  # the kind of a port without an ENI


@dataclass(frozen=True)
class CloudFacts:
    """What one cloud has."""

    place: Place
    ports: Mapping[str, Port]  # by ID: those with the cluster's tag, and those that ENIs record
    missing_servers: frozenset[str] = frozenset()  # of ENIs, which Nova does not know


@dataclass(frozen=True)
class Facts:
    cluster_id: str
    now: datetime
    enis: tuple[ENI, ...]
    podips: tuple[PodIP, ...]
    clouds: Mapping[str, CloudFacts]  # by name: those that have answered


@dataclass(frozen=True)
class Pair:
    """An ENI and its port."""

    eni: ENI
    recorded: PortStatus
    port: Port
    cluster_id: str

    @property
    def addresses(self) -> frozenset[str]:
        """Return the port's fixed IPs in the ENI's own subnets."""
        own = {subnet.id for subnet in self.recorded.subnets}
        return frozenset(f.address for f in self.port.fixed_ips if f.subnet_id in own)


Rule: TypeAlias = Callable[[Pair], tuple[Reason, str] | None]


def compare(facts: Facts) -> tuple[Difference, ...]:
    """Return all differences: of ENIs, of ports without one, of PodIPs."""
    return (
        *(d for eni in sorted(facts.enis, key=lambda e: e.name) for d in _of_eni(eni, facts)),
        *(d for cloud in facts.clouds.values() for d in _of_ports(cloud, facts)),
        *_of_podips(facts),
    )


def _of_eni(eni: ENI, facts: Facts) -> Iterator[Difference]:
    recorded, cloud = eni.status.port, facts.clouds.get(eni.spec.cloud)
    if recorded is None or cloud is None or eni.metadata.deleting:
        return
    there = Place(recorded.project_id, recorded.region)
    if recorded.project_id and not there.may_be(cloud.place):
        message = (
            f"status.port is in project {there.project_id} {there.region}, and the credentials of "
            f"cloud {eni.spec.cloud!r} are of project {cloud.place.project_id} {cloud.place.region}"
        )
        yield difference(ENIS.name, eni.name, Reason.CREDENTIALS_INVALID, message)
        return
    if eni.spec.server_id in cloud.missing_servers:
        message = f"spec.serverID: Nova has no server {eni.spec.server_id}"
        yield difference(ENIS.name, eni.name, Reason.SERVER_NOT_FOUND, message)
    port = cloud.ports.get(recorded.id)
    if port is None:
        message = f"status.port.id: Neutron has no port {recorded.id}"
        yield difference(ENIS.name, eni.name, Reason.PORT_LOST, message)
        return
    pair = Pair(eni, recorded, port, facts.cluster_id)
    for rule in RULES:
        if (found := rule(pair)) is not None:
            yield difference(ENIS.name, eni.name, *found)


def mac(pair: Pair) -> tuple[Reason, str] | None:
    ours, neutrons = pair.recorded.mac_address, pair.port.mac_address
    if ours == neutrons:
        return None
    return Reason.PORT_CHANGED, f"port {pair.port.id} has the MAC address {neutrons}, not {ours}"


def lacking(pair: Pair) -> tuple[Reason, str] | None:
    """Find addresses that the ENI has and the port has not."""
    gone = {*pair.recorded.primary, *pair.recorded.addresses} - pair.addresses
    if not gone:
        return None
    return Reason.PORT_LOST, f"port {pair.port.id} lacks fixed IPs of status.port: {_listed(gone)}"


def lost(pair: Pair) -> tuple[Reason, str] | None:
    """Find addresses that have not been replaced since they were removed from the port."""
    wanted = (pair.eni.spec.address_count + 1) * len(pair.recorded.subnets)
    if not pair.recorded.lost or len(pair.addresses) >= wanted:
        return None
    return Reason.PORT_LOST, (
        f"port {pair.port.id} has {len(pair.addresses)} of {wanted} fixed IPs since somebody "
        f"removed {_listed(pair.recorded.lost)}"
    )


def unknown(pair: Pair) -> tuple[Reason, str] | None:
    """Find addresses that the port has and the ENI has not."""
    recorded = {*pair.recorded.primary, *pair.recorded.addresses, *pair.recorded.releasing}
    more = pair.addresses - recorded
    if not more:
        return None
    return Reason.PORT_CHANGED, (
        f"port {pair.port.id} has fixed IPs that status.port does not: {_listed(more)}"
    )


def device(pair: Pair) -> tuple[Reason, str] | None:
    """Compare what the port is attached to: os-interface of Nova shows Neutron's own list."""
    server, on = pair.eni.spec.server_id, pair.port.device_id
    if on == server or not is_true(pair.eni.status.conditions, Type.ATTACHED):
        return None
    if on:
        return Reason.ATTACHED_ELSEWHERE, f"port {pair.port.id} is attached to {on}, not {server}"
    return Reason.WAITING_FOR_ATTACH, (
        f"Attached is True, and port {pair.port.id} is attached to no server"
    )


def state(pair: Pair) -> tuple[Reason, str] | None:
    if not pair.port.enabled:
        return Reason.PORT_DISABLED, f"port {pair.port.id} is disabled"
    attached = is_true(pair.eni.status.conditions, Type.ATTACHED)
    if attached and pair.port.device_id and pair.port.status != ACTIVE:
        return Reason.PORT_NOT_ACTIVE, f"port {pair.port.id} is {pair.port.status}"
    return None


def ownership(pair: Pair) -> tuple[Reason, str] | None:
    """Find tags without which the port counts as nobody's."""
    missing = {*port_tags(pair.cluster_id, pair.eni.metadata.uid)} - pair.port.tags
    if not missing:
        return None
    return Reason.UPDATING, f"port {pair.port.id} lacks the tags {_listed(missing)}"


def settings(pair: Pair) -> tuple[Reason, str] | None:
    wrong = settings_of(pair.eni).differences(pair.port)
    if not wrong:
        return None
    return Reason.UPDATING, f"port {pair.port.id} has other {', '.join(wrong)} than spec"


RULES: Final[tuple[Rule, ...]] = (
    mac,
    lacking,
    lost,
    unknown,
    device,
    state,
    ownership,
    settings,
)


def _of_ports(cloud: CloudFacts, facts: Facts) -> Iterator[Difference]:
    """Find ports of this cluster that are no ENI's."""
    recorded = {eni.status.port.id for eni in facts.enis if eni.status.port is not None}
    by_uid = {eni.metadata.uid: eni for eni in facts.enis}
    for port in sorted(cloud.ports.values(), key=lambda p: p.id):
        if port.id in recorded or _age(port, facts.now) < MIN_AGE:
            continue
        owners = named_enis(port, facts.cluster_id)
        on = f"attached to {port.device_id}" if port.device_id else "attached to nothing"
        if not owners & by_uid.keys():
            message = f"{port.name or 'it'} has no ENI; {on}"
            yield difference(PORT, port.id, Reason.ORPHANED_PORTS, message)
            continue
        eni = by_uid[min(owners & by_uid.keys())]
        if eni.status.port is not None and not eni.metadata.deleting:
            message = f"ENI {eni.name} has another port, {eni.status.port.id}; this one is {on}"
            yield difference(PORT, port.id, Reason.PORT_CHANGED, message)


def _of_podips(facts: Facts) -> Iterator[Difference]:
    enis = {eni.name: eni for eni in facts.enis}
    holders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for podip in sorted(facts.podips, key=lambda p: p.key):
        placed = podip.placed
        if not podip.spec.eni_name or (placed is not None and placed.status == Status.FALSE):
            continue
        eni = enis.get(podip.spec.eni_name)
        if (found := _of_podip(podip, eni, facts)) is not None:
            yield found
        network = eni.spec.network_id if eni is not None else ""
        for address in podip.spec.addresses:
            holders[network, address].append(podip.key)
    for (_, address), keys in sorted(holders.items()):
        for key in keys[1:]:
            message = f"{address} is {keys[0]}'s, too"
            yield difference(PODIPS.name, key, Reason.ADDRESS_IN_USE, message)


def _of_podip(podip: PodIP, eni: ENI | None, facts: Facts) -> Difference | None:
    """Compare a PodIP with its ENI, and with the ENI's port."""
    name, addresses = podip.spec.eni_name, set(podip.spec.addresses)
    if eni is None:
        message = f"spec.eniName: there is no ENI {name}"
        return difference(PODIPS.name, podip.key, Reason.ADDRESS_NOT_ON_PORT, message)
    recorded, cloud = eni.status.port, facts.clouds.get(eni.spec.cloud)
    if recorded is None:
        message = f"ENI {name} has no port"
        return difference(PODIPS.name, podip.key, Reason.ADDRESS_NOT_ON_PORT, message)
    port = cloud.ports.get(recorded.id) if cloud is not None else None
    if port is not None and (gone := addresses - {f.address for f in port.fixed_ips}):
        message = f"{_listed(gone)} is not on port {port.id} of ENI {name} in Neutron"
        return difference(PODIPS.name, podip.key, Reason.PORT_LOST, message)
    if gone := addresses - set(recorded.addresses):
        message = f"{_listed(gone)} is not in status.port.addresses of ENI {name}"
        return difference(PODIPS.name, podip.key, Reason.ADDRESS_NOT_ON_PORT, message)
    return None


def _age(port: Port, now: datetime) -> float:
    """Return the seconds since the port was created; none if Neutron does not say."""
    try:
        return (now - parse_time(port.created_at)).total_seconds()
    except ValueError:
        return 0.0


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words, key=_order))


def _order(word: str) -> tuple[int, int, str]:
    try:
        parsed = ip_address(word)
    except ValueError:
        return 0, 0, word
    return parsed.version, int(parsed), word
