"""What others add to an ENI, or to openeni's sets, goes at the next look, whatever its kind."""

from collections.abc import Callable

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import SECOND, ReachedPod

pytestmark = pytest.mark.root
WITH_IPV6 = [mode for mode in MODES if mode.id != f"ipvlan-{IPVlanMode.L3}"]
VETH = [Datapath(Mode.VETH)]


def plug_where_new_links_have_private_addresses(bench: ReachedPod) -> None:
    bench.node.namespace.sysctl("net/ipv6/conf/default/addr_gen_mode", "3")
    bench.network.unplug(bench.port)
    bench.port = bench.plug("ens7")


def plug_where_a_secret_is_set(bench: ReachedPod) -> None:
    """RFC 7217: new links have `addr_gen_mode` 2 then."""
    bench.node.namespace.sysctl("net/ipv6/conf/default/stable_secret", "fd00::1")
    bench.network.unplug(bench.port)
    bench.port = bench.plug("ens7")


def add_a_link_local_address(bench: ReachedPod) -> None:
    bench.node.namespace.ip("addr add fe80::5/64 dev ens7")


def have_a_private_address_and_flap(bench: ReachedPod) -> None:
    bench.node.namespace.ip(
        "link set ens7 addrgenmode random", "link set ens7 down", "link set ens7 up"
    )


@pytest.mark.parametrize("bench", WITH_IPV6, indirect=True)
@pytest.mark.parametrize(
    "damage",
    [
        plug_where_new_links_have_private_addresses,
        plug_where_a_secret_is_set,
        add_a_link_local_address,
        have_a_private_address_and_flap,
    ],
)
def test_an_eni_has_no_link_local_address_that_its_port_does_not_allow(
    bench: ReachedPod, damage: Callable[[ReachedPod], None]
) -> None:
    """The kernel would ask for the gateway from it, and Neutron drop that."""
    damage(bench)
    bench.heal()
    assert bench.check() == ()
    listed = bench.node.namespace.program("ip", "-6", "addr", "show", "dev", "ens7")
    assert listed.count("fe80:") == 1
    bench.network.forget_dropped()
    bench.assert_connected()


def route_of_another_scope(bench: ReachedPod) -> None:
    """As systemd-networkd has it with `Scope=global`."""
    bench.node.namespace.ip("route add 192.0.2.0/24 dev ens7 scope global")


def route_of_a_tos(bench: ReachedPod) -> None:
    bench.node.namespace.ip("route add 192.0.2.0/24 dev ens7 tos 0x10")


def route_by_a_nexthop_of_its_own(bench: ReachedPod) -> None:
    """As FRR adds all of its routes."""
    bench.node.namespace.ip(
        "nexthop add id 77 via 10.98.0.1 dev ens7 onlink", "route add 192.0.2.0/24 nhid 77"
    )


def route_by_ipv6(bench: ReachedPod) -> None:
    """As BGP without addresses of its own has it."""
    bench.node.namespace.ip("route add 192.0.2.0/24 via inet6 fe80::1 dev ens7")


def route_of_a_source(bench: ReachedPod) -> None:
    route = "-6 route add default from 2001:db8::/64 dev ens7"
    bench.node.namespace.program("ip", *route.split())


def address_with_a_peer(bench: ReachedPod) -> None:
    bench.node.namespace.ip("addr add 192.0.2.5 peer 192.0.2.6/32 dev ens7")


def of_others(bench: ReachedPod) -> list[str]:
    commands = ("addr show dev ens7", "route show", "-6 route show")
    return [
        line
        for command in commands
        for line in bench.node.namespace.program("ip", *command.split()).splitlines()
        if "192.0.2." in line or "2001:db8" in line
    ]


@pytest.mark.parametrize("bench", VETH, indirect=True)
@pytest.mark.parametrize(
    "damage",
    [
        route_of_another_scope,
        route_of_a_tos,
        route_by_a_nexthop_of_its_own,
        route_by_ipv6,
        route_of_a_source,
        address_with_a_peer,
    ],
)
def test_routes_and_addresses_of_others_are_flushed_from_an_eni(
    bench: ReachedPod, damage: Callable[[ReachedPod], None]
) -> None:
    damage(bench)
    assert of_others(bench)
    assert bench.heal() == 1
    assert of_others(bench) == []
    bench.add("second", SECOND)
    bench.assert_connected()


def add_for_all_others(bench: ReachedPod) -> None:
    bench.node.namespace.nft(f"add element inet {names.NFT_TABLE} primaries4 {{ * }}")


def translate_for_all_others(bench: ReachedPod) -> None:
    table = f"inet {names.NFT_TABLE}"
    bench.node.namespace.nft(
        f"add element {table} hairpins4 {{ * : 192.0.2.1 }}\n"
        f"add element {table} anyports4 {{ * : 192.0.2.1 . 80 }}"
    )


@pytest.mark.parametrize("bench", VETH, indirect=True)
@pytest.mark.parametrize("damage", [add_for_all_others, translate_for_all_others])
def test_members_that_stand_for_all_others_are_removed(
    bench: ReachedPod, damage: Callable[[ReachedPod], None]
) -> None:
    damage(bench)
    bench.node.namespace.ip(f"rule del pref {names.RULE_TO_POD}")
    assert bench.heal() == 1
    listed = bench.node.namespace.program("nft", "list", "table", "inet", names.NFT_TABLE)
    assert "* :" not in listed
    assert "{ *" not in listed
    bench.assert_connected()


@pytest.mark.parametrize("bench", VETH, indirect=True)
def test_a_nic_whose_name_is_no_text_keeps_no_other_part_from_being_restored(
    bench: ReachedPod,
) -> None:
    bench.node.namespace.program("ip", "link", "set", "ens7", "name", "caf\udce9")
    bench.node.namespace.ip(f"rule del pref {names.RULE_TO_POD}")
    bench.node.look()
    bench.assert_connected()
