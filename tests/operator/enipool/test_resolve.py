"""A pool's names in its cloud: found, or the field named with what to do."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.conditions import Reason
from openeni_crds.enipool import ENIPool, ENIPoolSpec
from openeni_crds.meta import decode
from openeni_operator.cloud.api import FixedIP, Network, Port, Subnet
from openeni_operator.cloud.errors import CloudUnreachableError
from openeni_operator.enipool.resolve import (
    MAX_FREE,
    Cause,
    PoolSubnet,
    Resolution,
    count_free,
    resolve,
)
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.objects import pool_body


def spec(**changes: Any) -> ENIPoolSpec:
    body = pool_body("pods")
    body["spec"] |= changes
    return decode(body, ENIPool).spec


def cloud() -> MemoryCloud:
    """One network with an IPv4 subnet, and a security group; all called pods."""
    made = MemoryCloud()
    network = made.add_network("pods", mtu=1450)
    made.add_subnet(network, "pods", "10.98.0.0/29")
    made.add_group("pods")
    return made


def resolved(wanted: ENIPoolSpec, made: MemoryCloud) -> Resolution | Cause:
    return resolve(wanted, made, made.ports_on)


def test_names_become_ids_and_the_networks_mtu_is_the_pods() -> None:
    made = cloud()
    found = resolved(spec(), made)
    assert isinstance(found, Resolution)
    (subnet,) = made.subnets.values()
    assert found.subnets == (PoolSubnet("pods", "", subnet, 5),)
    assert found.security_groups == tuple(made.groups)
    assert (found.network.id, found.mtu) == (subnet.network_id, 1450)
    by_id = spec(subnets=[{"subnet": subnet.id}], securityGroups=list(made.groups))
    assert resolved(by_id, made) == replace(found, subnets=(PoolSubnet(subnet.id, "", subnet, 5),))


def test_a_smaller_mtu_is_taken() -> None:
    found = resolved(spec(datapath={"mode": "Veth", "mtu": 1400}), cloud())
    assert isinstance(found, Resolution)
    assert found.mtu == 1400


def nothing(made: MemoryCloud) -> None:
    pass


def second_subnet(made: MemoryCloud) -> None:
    made.add_subnet(next(iter(made.networks.values())), "pods", "10.97.0.0/24")


def second_group(made: MemoryCloud) -> None:
    made.add_group("pods")


def elsewhere(made: MemoryCloud) -> None:
    made.add_subnet(made.add_network("other"), "elsewhere", "10.97.0.0/24")


def change(**fields: Any) -> Callable[[MemoryCloud], None]:
    def changed(made: MemoryCloud) -> None:
        (subnet,) = made.subnets.values()
        made.subnets[subnet.id] = replace(subnet, **fields)

    return changed


def slaac_beside(made: MemoryCloud) -> None:
    made.add_subnet(next(iter(made.networks.values())), "v6", "fd98::/64", slaac=True)


BAD = [
    pytest.param(
        nothing,
        {"subnets": [{"subnet": "pots"}]},
        (Reason.NOT_FOUND, False),
        "spec.subnets[0].subnet: cloud 'default' has no subnet 'pots'",
        id="no such subnet",
    ),
    pytest.param(
        nothing,
        {"securityGroups": ["pods", "none"]},
        (Reason.NOT_FOUND, False),
        "spec.securityGroups[1]: cloud 'default' has no security group 'none'",
        id="no such group",
    ),
    pytest.param(
        second_subnet,
        {},
        (Reason.AMBIGUOUS_NAME, False),
        "spec.subnets[0].subnet: 2 subnets are called 'pods'; give the id of one: subnet-",
        id="two subnets of one name",
    ),
    pytest.param(
        second_group,
        {},
        (Reason.AMBIGUOUS_NAME, False),
        "spec.securityGroups[0]: 2 security groups are called 'pods'",
        id="two groups of one name",
    ),
    pytest.param(
        elsewhere,
        {"subnets": [{"subnet": "pods"}, {"subnet": "elsewhere"}]},
        (Reason.SUBNETS_DIFFER, False),
        "spec.subnets[1].subnet: subnet 'elsewhere' is of another network than the first",
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
        change(slaac=True, dhcp=True),
        {},
        (Reason.SLAAC_ENABLED, True),
        "spec.subnets[0].subnet: subnet 'pods' uses SLAAC",
        id="SLAAC, which is the worse one",
    ),
    pytest.param(
        slaac_beside,
        {},
        (Reason.SLAAC_ENABLED, True),
        "spec.subnets: subnet 'v6' of the same network uses SLAAC",
        id="SLAAC on a subnet of the network that the pool does not name",
    ),
    pytest.param(
        nothing,
        {"datapath": {"mode": "Veth", "mtu": 1500}},
        (Reason.INVALID_SPEC, False),
        "spec.datapath.mtu: 1500 is more than the network's 1450; lower it",
        id="an MTU that the network has not",
    ),
    pytest.param(
        nothing,
        {"capacity": {"growth": "Elastic"}},
        (Reason.GROWTH_UNSUPPORTED, True),
        "spec.capacity.growth: Elastic is not supported yet; use Auto or Static",
        id="growth that is not there yet",
    ),
]


@pytest.mark.parametrize(("prepare", "changes", "reason", "words"), BAD)
def test_what_cannot_be_served_is_named_with_the_field(
    prepare: Callable[[MemoryCloud], None],
    changes: dict[str, Any],
    reason: tuple[Reason, bool],
    words: str,
) -> None:
    made = cloud()
    prepare(made)
    problem = resolved(spec(**changes), made)
    assert isinstance(problem, Cause)
    assert (problem.reason, problem.unsupported) == reason
    assert words in problem.message
    assert "\n" not in problem.message


def test_a_cloud_that_does_not_answer_is_no_problem_of_the_pool() -> None:
    made = cloud()
    made.down = CloudUnreachableError("no route to host")
    with pytest.raises(CloudUnreachableError):
        resolved(spec(), made)


NETWORK = Network("net", "pods", 1450)


def subnet(name: str, version: int = 4) -> Subnet:
    return Subnet(name, name, "net", "10.98.0.0/24", version)


A, B, SIX = subnet("a"), subnet("b"), subnet("six", 6)


@pytest.mark.parametrize(
    ("subnets", "chosen"),
    [
        pytest.param([(A, "", 9), (B, "", 9)], [A], id="the first in the pool's order"),
        pytest.param([(A, "", 2), (B, "", 9)], [B], id="the first with enough addresses"),
        pytest.param([(A, "", 2), (B, "", 1)], [A], id="the first where none has enough"),
        pytest.param([(A, "west", 9), (B, "east", 9)], [B], id="of the node's zone"),
        pytest.param([(A, "west", 9), (B, "", 2)], [B], id="or of every zone"),
        pytest.param([(A, "west", 9)], [], id="none of its zone"),
        pytest.param([(SIX, "", 9), (B, "", 9)], [B, SIX], id="one a family, IPv4 first"),
        pytest.param([(SIX, "", 9)], [SIX], id="IPv6 alone"),
    ],
)
def test_a_nodes_subnets(subnets: list[tuple[Subnet, str, int]], chosen: list[Subnet]) -> None:
    listed = tuple(PoolSubnet(s.name, zone, s, free) for s, zone, free in subnets)
    found = Resolution(NETWORK, listed, (), 1450).choose("east", 5)
    assert found == tuple(chosen)


low = st.integers(1, 12)
ranges = st.tuples(low, st.integers(0, 4)).map(
    lambda r: (f"10.0.0.{r[0]}", f"10.0.0.{r[0] + r[1]}")
)
fixed_ips = st.builds(
    FixedIP, st.sampled_from(["a", "other"]), st.integers(0, 20).map(lambda n: f"10.0.0.{n}")
)


@given(ranges, st.lists(st.lists(fixed_ips, max_size=4), max_size=6))
def test_free_are_those_of_the_allocation_pools_that_no_port_has(
    pool: tuple[str, str], given_ips: list[list[FixedIP]]
) -> None:
    ports = [Port(str(n), "", "net", "", fixed_ips=tuple(f)) for n, f in enumerate(given_ips)]
    low, high = (int(ip_address(address)) for address in pool)
    taken = {f.address for port in ports for f in port.fixed_ips if f.subnet_id == "a"}
    wanted = [n for n in range(low, high + 1) if str(ip_address(n)) not in taken]
    assert count_free(replace(A, pools=(pool,)), ports) == len(wanted)


def test_a_subnet_of_ipv6_has_more_than_anybody_counts() -> None:
    assert (
        count_free(replace(SIX, pools=(("fd98::2", "fd98::ffff:ffff:ffff:ffff"),)), ()) == MAX_FREE
    )
