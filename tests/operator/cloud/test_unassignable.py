"""Addresses that no pod may have: compared as addresses, in both families."""

import pytest

from openeni_crds.status.eni import PortSubnet
from openeni_operator.cloud.unassignable import role_of

FOUR = PortSubnet("s4", "10.98.0.0/22", "10.98.3.254")
SIX = PortSubnet("s6", "fd00:98::/64", "fd00:98::1")


@pytest.mark.parametrize(
    ("address", "role"),
    [
        ("10.98.3.254", "the gateway of subnet s4 (10.98.0.0/22)"),
        ("10.98.0.0", "the network address of subnet s4 (10.98.0.0/22)"),
        ("10.98.3.255", "the broadcast address of subnet s4 (10.98.0.0/22)"),
        ("fd00:98::1", "the gateway of subnet s6 (fd00:98::/64)"),
        ("FD00:0098:0:0::0001", "the gateway of subnet s6 (fd00:98::/64)"),
        ("fd00:98:0:0::", "the anycast address of the routers of subnet s6 (fd00:98::/64)"),
        ("10.98.0.1", ""),
        ("10.98.0.255", ""),
        ("fd00:98::ffff:ffff:ffff:ffff", ""),
        ("192.0.2.1", ""),
    ],
)
def test_what_an_address_is_in_its_subnet(address: str, role: str) -> None:
    assert role_of(address, (FOUR, SIX)) == role


@pytest.mark.parametrize("cidr", ["192.0.2.0/31", "192.0.2.0/32", "fd00::/127", "fd00::/128"])
def test_a_link_between_two_machines_has_none(cidr: str) -> None:
    assert role_of(cidr.partition("/")[0], (PortSubnet("s", cidr),)) == ""


def test_a_gateway_outside_of_its_subnet_is_one_too() -> None:
    link_local = PortSubnet("s6", "fd00:98::/64", "fe80::1")
    assert role_of("fe80::1", (link_local,)).startswith("the gateway")
