"""A pool's names are resolved in its cloud, or a message names the field and the way out."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.conditions import Reason
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import decode
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import FixedIP, Network, Place, Port, Subnet
from openeni_operator.cloud.errors import CloudUnreachableError
from openeni_operator.enipool.memory.subnet_usage import SubnetUsage
from openeni_operator.enipool.resolution import MAX_COUNT, PoolSubnet, Resolution, count_free
from openeni_operator.enipool.resolve import NetworkReads, resolve
from openeni_operator.shared_reads import CloudReads, numbers_by_subnet
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.objects import pool_body


def spec(**changes: Any) -> ENIPool:
    """Return a pool with these fields in its spec."""
    body = pool_body("pods")
    body["spec"] |= changes
    return decode(body, ENIPool)


def a_cloud() -> MemoryCloud:
    """Return a cloud with a network, an IPv4 subnet and a security group, all named `pods`."""
    cloud = MemoryCloud()
    network = cloud.add_network(mtu=1450)
    cloud.add_subnet(network, "pods", "10.98.0.0/29")
    cloud.add_group("pods")
    return cloud


def resolve_in(cloud: MemoryCloud, pool: ENIPool) -> Resolution | Cause:
    reads = CloudReads(0, cloud.clock)
    return resolve(
        pool,
        cloud,
        NetworkReads(
            network=lambda network: reads.network("default", cloud, network),
            ports=lambda network: reads.ports_on("default", cloud, network),
        ),
    )


def test_names_and_ids_are_resolved_and_the_mtu_is_the_networks() -> None:
    cloud = a_cloud()
    found = resolve_in(cloud, spec())
    assert isinstance(found, Resolution)
    (subnet,) = cloud.subnets.values()
    assert found.subnets == (PoolSubnet("", subnet, 5),)
    assert found.security_groups == tuple(cloud.groups.values())
    assert (found.network.id, found.mtu) == (subnet.network_id, 1450)
    by_id = spec(
        subnets=[{"id": subnet.id}], securityGroups=[{"id": group} for group in cloud.groups]
    )
    assert resolve_in(cloud, by_id) == found


def test_tags_select_every_resource_that_has_all_of_them_and_each_once() -> None:
    cloud = a_cloud()
    (network,) = cloud.networks.values()
    for name, cidr, tags in (
        ("b", "10.97.1.0/29", ("pods", "fast")),
        ("a", "10.97.0.0/29", ("fast", "pods", "more")),
        ("c", "10.97.2.0/29", ("pods",)),
    ):
        cloud.tags_of[cloud.add_subnet(network, name, cidr).id] = tags
    cloud.tags_of[cloud.add_group("g").id] = ("pods",)
    wanted = spec(
        subnets=[{"name": "c"}, {"tags": ["pods", "fast"]}, {"name": "a"}],
        securityGroups=[{"tags": ["pods"]}, {"name": "g"}],
    )
    found = resolve_in(cloud, wanted)
    assert isinstance(found, Resolution)
    assert [s.subnet.name for s in found.subnets] == ["c", "a", "b"]
    assert [g.name for g in found.security_groups] == ["g"]


def test_a_smaller_mtu_is_kept() -> None:
    found = resolve_in(a_cloud(), spec(datapath={"mode": "Veth", "mtu": 1400}))
    assert isinstance(found, Resolution)
    assert found.mtu == 1400


def no_change(cloud: MemoryCloud) -> None:
    pass


def second_subnet(cloud: MemoryCloud) -> None:
    cloud.add_subnet(next(iter(cloud.networks.values())), "pods", "10.97.0.0/24")


def second_group(cloud: MemoryCloud) -> None:
    cloud.add_group("pods")


def elsewhere(cloud: MemoryCloud) -> None:
    cloud.add_subnet(cloud.add_network(), "elsewhere", "10.97.0.0/24")


def change(**fields: Any) -> Callable[[MemoryCloud], None]:
    def changed(cloud: MemoryCloud) -> None:
        (subnet,) = cloud.subnets.values()
        cloud.subnets[subnet.id] = replace(subnet, **fields)

    return changed


def slaac_beside(cloud: MemoryCloud) -> None:
    cloud.add_subnet(next(iter(cloud.networks.values())), "v6", "fd98::/64", ipv6_mode="slaac")


def ipv6_beside(made: MemoryCloud) -> None:
    made.add_subnet(next(iter(made.networks.values())), "v6", "fd98::/64")


def many_groups(made: MemoryCloud) -> None:
    for number in range(65):
        made.tags_of[made.add_group(f"g{number}").id] = ("many",)


BAD = [
    pytest.param(
        no_change,
        {"subnets": [{"name": "pots"}]},
        (Reason.NOT_FOUND, False),
        "spec.subnets[0]: cloud 'default' has no subnet with the name 'pots'",
        id="no such subnet",
    ),
    pytest.param(
        no_change,
        {"securityGroups": [{"name": "pods"}, {"id": "none"}]},
        (Reason.NOT_FOUND, False),
        "spec.securityGroups[1]: cloud 'default' has no security group with the ID 'none'",
        id="no such group",
    ),
    pytest.param(
        no_change,
        {"securityGroups": [{"tags": ["a", "b"]}]},
        (Reason.NOT_FOUND, False),
        "spec.securityGroups[0]: cloud 'default' has no security group with the tags a, b",
        id="no group with these tags",
    ),
    pytest.param(
        second_subnet,
        {},
        (Reason.AMBIGUOUS_NAME, False),
        "spec.subnets[0]: 2 subnets have the name 'pods'; use the ID of one: subnet-",
        id="two subnets of one name",
    ),
    pytest.param(
        second_group,
        {},
        (Reason.AMBIGUOUS_NAME, False),
        "spec.securityGroups[0]: 2 security groups have the name 'pods'",
        id="two groups of one name",
    ),
    pytest.param(
        elsewhere,
        {"subnets": [{"name": "pods"}, {"name": "elsewhere"}]},
        (Reason.SUBNETS_DIFFER, False),
        "spec.subnets[1]: subnet 'elsewhere' is on another network than subnet 'pods'",
        id="two networks",
    ),
    pytest.param(
        change(dhcp=True),
        {},
        (Reason.DHCP_ENABLED, True),
        "openstack subnet set --no-dhcp",
        id="DHCP",
    ),
    pytest.param(
        change(ipv6_mode="dhcpv6-stateful", dhcp=True),
        {},
        (Reason.DHCP_ENABLED, True),
        "replace it, since it has the IPv6 mode dhcpv6-stateful, by one without a mode",
        id="DHCP that Neutron does not let be switched off",
    ),
    pytest.param(
        change(ipv6_mode="slaac", dhcp=True),
        {},
        (Reason.SLAAC_ENABLED, True),
        "spec.subnets[0]: subnet 'pods' uses SLAAC",
        id="SLAAC takes precedence over DHCP",
    ),
    pytest.param(
        slaac_beside,
        {},
        (Reason.SLAAC_ENABLED, True),
        "spec.subnets: subnet 'v6' on the same network uses SLAAC",
        id="SLAAC on a subnet of the network that the pool does not name",
    ),
    pytest.param(
        no_change,
        {"datapath": {"mode": "Veth", "mtu": 1500}},
        (Reason.INVALID_SPEC, False),
        "spec.datapath.mtu: 1500 is more than the network's 1450; lower it",
        id="an MTU above the network's",
    ),
]


@pytest.mark.parametrize(("prepare", "changes", "reason", "words"), BAD)
def test_a_failure_names_the_field_and_the_way_out(
    prepare: Callable[[MemoryCloud], None],
    changes: dict[str, Any],
    reason: tuple[Reason, bool],
    words: str,
) -> None:
    cloud = a_cloud()
    prepare(cloud)
    cause = resolve_in(cloud, spec(**changes))
    assert isinstance(cause, Cause)
    assert (cause.reason, cause.unsupported) == reason
    assert words in cause.message
    assert "\n" not in cause.message


def test_an_unreachable_cloud_is_not_a_failure_of_the_pool() -> None:
    cloud = a_cloud()
    cloud.down = CloudUnreachableError("no route to host")
    with pytest.raises(CloudUnreachableError):
        resolve_in(cloud, spec())


NETWORK = Network("net", 1450)


def subnet(name: str, version: int = 4) -> Subnet:
    return Subnet(name, name, "net", "10.98.0.0/24", version)


A, B, SIX = subnet("a"), subnet("b"), subnet("six", 6)
PROMISED, EXHAUSTED = subnet("promised"), subnet("exhausted")


@pytest.mark.parametrize(
    ("subnets", "chosen", "alternative"),
    [
        pytest.param([(A, "", 9), (B, "", 9)], [A], [A], id="the first in the pool's order"),
        pytest.param([(A, "", 2), (B, "", 9)], [B], [B], id="the first with enough addresses"),
        pytest.param([(A, "", 2), (B, "", 1)], [A], [], id="the first where none has enough"),
        pytest.param([(A, "west", 9), (B, "east", 9)], [B], [B], id="in the node's zone"),
        pytest.param([(A, "west", 9), (B, "", 2)], [B], [], id="or for every zone"),
        pytest.param([(A, "west", 9)], [], [], id="none in its zone"),
        pytest.param(
            [(SIX, "", 9), (B, "", 9)], [B, SIX], [B, SIX], id="one for each family, IPv4 first"
        ),
        pytest.param([(SIX, "", 9), (B, "", 1)], [B, SIX], [], id="both families need enough"),
        pytest.param([(SIX, "", 9)], [SIX], [SIX], id="IPv6 alone"),
        pytest.param([(PROMISED, "", 9), (B, "", 9)], [B], [B], id="less what is promised"),
        pytest.param([(EXHAUSTED, "", 9), (B, "", 9)], [B], [B], id="not one that has refused"),
        pytest.param(
            [(EXHAUSTED, "", 9)], [EXHAUSTED], [EXHAUSTED], id="but where there is no other"
        ),
    ],
)
def test_the_choice_of_subnets(
    subnets: list[tuple[Subnet, str, int]], chosen: list[Subnet], alternative: list[Subnet]
) -> None:
    usage = SubnetUsage(Counter({PROMISED.id: 5}), frozenset({EXHAUSTED.id}))
    listed = tuple(PoolSubnet(zone, s, free) for s, zone, free in subnets)
    resolution = Resolution(NETWORK, listed, (), 1450, Place("project"))
    assert resolution.choose("east", 5, usage) == tuple(chosen)
    assert resolution.alternative("east", 5, usage) == tuple(alternative)
    assert resolution.serves("east") == bool(chosen)


bounds = st.tuples(st.integers(1, 12), st.integers(0, 4))
ranges = bounds.map(lambda r: (f"10.0.0.{r[0]}", f"10.0.0.{r[0] + r[1]}"))
fixed_ips = st.builds(
    FixedIP, st.sampled_from(["a", "other"]), st.integers(0, 20).map(lambda n: f"10.0.0.{n}")
)


@given(ranges, st.lists(st.lists(fixed_ips, max_size=4), max_size=6))
def test_free_addresses_are_in_an_allocation_pool_and_on_no_port(
    pool: tuple[str, str], given_ips: list[list[FixedIP]]
) -> None:
    ports = [Port(str(n), "", "net", "", fixed_ips=tuple(f)) for n, f in enumerate(given_ips)]
    low, high = (int(ip_address(address)) for address in pool)
    taken = {f.address for port in ports for f in port.fixed_ips if f.subnet_id == "a"}
    wanted = [n for n in range(low, high + 1) if str(ip_address(n)) not in taken]
    numbers = numbers_by_subnet(ports).get("a", ())
    assert count_free(replace(A, pools=(pool,)), numbers) == len(wanted)


def test_the_free_count_of_an_ipv6_subnet_is_capped() -> None:
    pools = (("fd98::2", "fd98::ffff:ffff:ffff:ffff"),)
    assert count_free(replace(SIX, pools=pools), ()) == MAX_COUNT
