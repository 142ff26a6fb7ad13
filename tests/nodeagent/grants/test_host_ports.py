"""Which host ports exclude each other, and whose they are."""

# pyright: reportPrivateUsage=false

from collections.abc import Callable
from itertools import product

import msgspec
import pytest

from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.host_ports import HostPorts, Taken
from openeni_nodeagent.pod_options import PortMapping, Transport, first_of_each

TCP, UDP = Transport.TCP, Transport.UDP
EVERY, EVERY_4, EVERY_6 = "", "0.0.0.0", "::"  # noqa: S104 - of a pod
WEB = PortMapping(8080, 80, TCP)


def grant(pod: str, container: str, *ports: PortMapping) -> Grant:
    return Grant(
        Attachment(pod, container, "eth0"),
        *("default", pod, "", "pods-0", "pods", ("10.98.0.5",), "Veth", 1450),
        at=0,
        cool_down=30,
        host_ports=ports,
    )


def ports_of(*grants: Grant) -> HostPorts:
    of = HostPorts()
    for each in grants:
        of.enter(each)
    return of


def find_taken(
    wanted: tuple[PortMapping, ...],
    attachment: Attachment,
    grants: tuple[Grant, ...],
    is_at_work: Callable[[str], bool],
) -> Taken | None:
    return ports_of(*grants).find_taken(wanted, attachment, is_at_work)


def exclude(one: PortMapping, other: PortMapping) -> bool:
    """Return True if a pod cannot have the second while another has the first."""
    new = Attachment("new", "c2", "eth0")
    return find_taken((other,), new, (grant("first", "c1", one),), lambda _: False) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (EVERY, EVERY),
        (EVERY, EVERY_4),
        (EVERY, EVERY_6),
        (EVERY, "10.0.0.1"),
        (EVERY, "fd00::1"),
        (EVERY_4, "10.0.0.1"),
        (EVERY_6, "fd00::1"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_addresses_that_overlap_exclude_each_other_both_ways(one: str, other: str) -> None:
    first, second = PortMapping(1, 80, TCP, one), PortMapping(1, 81, TCP, other)
    assert exclude(first, second)
    assert exclude(second, first)


@pytest.mark.parametrize(
    ("one", "other"),
    [(EVERY_4, EVERY_6), (EVERY_4, "fd00::1"), ("10.0.0.1", "10.0.0.2"), ("10.0.0.1", EVERY_6)],
)
def test_addresses_that_do_not_overlap_do_not(one: str, other: str) -> None:
    first, second = PortMapping(1, 80, TCP, one), PortMapping(1, 80, TCP, other)
    assert not exclude(first, second)
    assert not exclude(second, first)


def test_overlap_is_what_two_members_with_one_packet_would_be() -> None:
    """Against the definition: some address of the node that both would match."""
    hosts = (EVERY, EVERY_4, EVERY_6, "10.0.0.1", "10.0.0.2", "fd00::1")
    packets = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2")

    def matches(host: str, packet: str) -> bool:
        of_family = {EVERY: True, EVERY_4: ":" not in packet, EVERY_6: ":" in packet}
        return of_family.get(host, host == packet)

    for one, other in product(hosts, hosts):
        both = any(matches(one, p) and matches(other, p) for p in packets)
        assert exclude(PortMapping(1, 1, TCP, one), PortMapping(1, 1, TCP, other)) == both
        old = grant("web", "old", PortMapping(1, 1, TCP, one))
        wanted = (PortMapping(1, 1, TCP, other),)
        left = ports_of(old).released(wanted, Attachment("web", "new", "eth0"))
        assert [each.host_ports for each in left] == ([()] if both else [])


def test_another_port_or_protocol_is_another_port() -> None:
    assert not exclude(WEB, PortMapping(8081, 80, TCP))
    assert not exclude(WEB, PortMapping(8080, 80, UDP))


def test_a_port_of_another_pod_is_taken_and_of_the_pods_own_earlier_sandbox_is_not() -> None:
    theirs, own = grant("other", "c1", WEB), grant("web", "old", WEB)
    new = Attachment("web", "new", "eth0")
    assert find_taken((WEB,), new, (own,), lambda _: False) is None
    taken = find_taken((PortMapping(1, 1, TCP), WEB), new, (own, theirs), lambda _: False)
    assert taken
    assert (taken.port, taken.owner) == (WEB, theirs)


def test_a_port_of_the_pods_earlier_sandbox_is_taken_while_a_call_of_that_is_at_work() -> None:
    earlier, same = grant("web", "old", WEB), grant("web", "new", WEB)
    new = Attachment("web", "new", "net1")
    taken = find_taken((WEB,), new, (same, earlier), {"old", "new"}.__contains__)
    assert taken
    assert taken.owner == earlier


def test_an_earlier_sandbox_loses_the_ports_that_the_new_one_wants_and_keeps_the_others() -> None:
    more = PortMapping(53, 53, UDP)
    old, same, other = grant("web", "old", WEB, more), grant("web", "new", WEB), grant("x", "y")
    found = ports_of(old, same, other).released((WEB,), same.attachment)
    assert found == (msgspec.structs.replace(old, host_ports=(more,)),)


def test_what_a_grant_no_longer_has_is_free() -> None:
    """As many steps as it takes: every port that is entered is removed, and nothing else."""
    twice = PortMapping(8080, 80, TCP, "10.0.0.1")
    old, other = grant("a", "c1", WEB, twice, twice), grant("b", "c2", PortMapping(53, 53, UDP))
    of, new = ports_of(old, other), Attachment("new", "c3", "eth0")
    assert of.others(new) == 4
    of.enter(msgspec.structs.replace(old, host_ports=(twice, twice)))
    assert of.find_taken((WEB,), new, lambda _: False)
    of.enter(msgspec.structs.replace(old, host_ports=()))
    of.remove(old)  # twice, as a repeated DEL
    assert of.find_taken((WEB, twice), new, lambda _: False) is None
    assert (of.others(new), of.others(other.attachment)) == (1, 0)
    of.remove(other)
    assert (of._grants, of._owners) == ({}, {})


@pytest.mark.parametrize(
    ("host_ips", "left"),
    [
        ([EVERY, EVERY], {EVERY: 1}),
        ([EVERY, EVERY_4], {EVERY: 1}),
        ([EVERY_4, EVERY], {EVERY_4: 1, EVERY_6: 2}),
        ([EVERY, EVERY_6], {EVERY: 1}),
        ([EVERY_6, EVERY], {EVERY_6: 1, EVERY_4: 2}),
        ([EVERY_6, EVERY_4, EVERY], {EVERY_6: 1, EVERY_4: 2}),
        ([EVERY_4, EVERY_4], {EVERY_4: 1}),
        (["10.0.0.1", "10.0.0.1"], {"10.0.0.1": 1}),
        ([EVERY, "10.0.0.1", "fd99::1"], {EVERY: 1, "10.0.0.1": 2, "fd99::1": 3}),
    ],
)
def test_one_host_port_leads_to_one_port_of_the_pod_the_first(
    host_ips: list[str], left: dict[str, int]
) -> None:
    found = first_of_each(PortMapping(80, n, TCP, ip) for n, ip in enumerate(host_ips, 1))
    assert found == tuple(PortMapping(80, n, TCP, ip) for ip, n in left.items())
    assert first_of_each((WEB, PortMapping(8080, 81, UDP))) == (WEB, PortMapping(8080, 81, UDP))


def test_a_grant_of_before_host_ports_is_read_as_one_without() -> None:
    old = msgspec.to_builtins(grant("web", "c1"))
    del old["host_ports"], old["bandwidth"]
    assert msgspec.convert(old, Grant) == grant("web", "c1")
    new = grant("web", "c1", WEB, PortMapping(53, 53, UDP, "10.0.0.1"))
    assert msgspec.json.decode(msgspec.json.encode(new), type=Grant) == new
