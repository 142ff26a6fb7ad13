"""What others add to an ENI, or to openeni's links and sets, goes at the next look."""

from collections.abc import Callable

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import ADDRESSES, SECOND, ReachedPod

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
    commands = (
        *(f"addr show dev {link}" for link in ("ens7", bench.pod_link)),
        *(f"{family} route show table all" for family in ("-4", "-6")),
    )
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


def address_and_routes(bench: ReachedPod) -> None:
    """As a DHCP client that serves every link has them."""
    node, link = bench.node.namespace, bench.pod_link
    node.ip(
        f"addr add 192.0.2.5/24 dev {link}",
        f"route add 192.0.2.64/26 via 192.0.2.6 dev {link} proto dhcp",
    )
    if bench.families > 1:
        for words in ("addr add 2001:db8::5/64 nodad", "route add 2001:db8:1::/64"):
            node.program("ip", "-6", *words.split(), "dev", link)


def routes_alone(bench: ReachedPod) -> None:
    link = bench.pod_link
    bench.node.namespace.ip(
        f"route add 192.0.2.0/24 dev {link} scope global tos 0x10",
        f"route add 192.0.2.128/26 dev {link} table {names.TABLE_PODS}",
    )


def address_beside_one_that_is_planned(bench: ReachedPod) -> None:
    """In l3s and l3 the slave has the node's, with which its routes stay."""
    bench.node.namespace.ip(f"addr add 192.0.2.5/24 dev {bench.pod_link}")


@pytest.mark.parametrize("bench", MODES, indirect=True)
@pytest.mark.parametrize(
    "damage", [address_and_routes, routes_alone, address_beside_one_that_is_planned]
)
def test_routes_and_addresses_of_others_go_from_pods_links_and_slaves_and_the_pods_stay_reached(
    bench: ReachedPod, damage: Callable[[ReachedPod], None]
) -> None:
    """The kernel takes a link's routes with its last IPv4 address: one look restores them."""
    damage(bench)
    report = bench.node.look()
    assert (report.errors, report.differing, report.left) == ({}, {}, "")
    assert {repair.text.rpartition(" should ")[2] for repair in report.repairs} == {"not be there"}
    assert of_others(bench) == []
    assert bench.check() == ()
    bench.assert_connected()


@pytest.mark.parametrize("bench", MODES, indirect=True)
def test_an_add_that_repairs_leaves_all_pods_reached_whose_links_have_addresses_of_others(
    bench: ReachedPod,
) -> None:
    second = bench.add("second", SECOND)
    for link in {bench.pod_link, second.pod_network.host_interface}:
        bench.node.namespace.ip(f"addr add 192.0.2.5/24 dev {link}")
    bench.node.run(bench.node.datapath.add, second.facts, second.namespace.path)
    bench.assert_connected()
    assert bench.remote.ask(SECOND[0], 80) is not None
    for address in (ADDRESSES[0], SECOND[0]):
        assert "dev oeni" in bench.node.namespace.program("ip", "route", "get", address)
    bench.node.look()
    assert of_others(bench) == []


@pytest.mark.parametrize("bench", MODES, indirect=True)
def test_an_add_that_finds_another_address_in_place_of_the_primary_one_leaves_all_pods_reached(
    bench: ReachedPod,
) -> None:
    """With a link's last address the kernel takes the proxies of all pods, too."""
    second = bench.add("second", SECOND)
    bench.node.namespace.ip(
        "addr add 192.0.2.5/24 dev ens7", f"addr del {bench.eni.primary[0]}/32 dev ens7"
    )
    bench.node.run(bench.node.datapath.add, second.facts, second.namespace.path)
    for namespace in (bench.remote, bench.network.fabric):
        namespace.ip("neigh flush all")
    bench.assert_connected()


@pytest.mark.parametrize("bench", MODES, indirect=True)
def test_a_check_calls_nothing_missing_that_would_go_with_an_address_of_others(
    bench: ReachedPod,
) -> None:
    bench.add("second", SECOND)
    bench.node.namespace.ip(
        "addr add 192.0.2.5/24 dev ens7", f"addr del {bench.eni.primary[0]}/32 dev ens7"
    )
    found = "\n".join(bench.check())
    assert "192.0.2.5" in found
    assert "neighbour" not in found
    assert SECOND[0] not in found


@pytest.mark.parametrize("bench", VETH, indirect=True)
@pytest.mark.parametrize("has_nic", [True, False])
@pytest.mark.parametrize("addition", ["addr add 169.254.77.5/16", "route add 169.254.0.0/16"])
def test_a_pod_whose_link_others_configure_is_not_its_nodes_metadata_service(
    bench: ReachedPod, addition: str, *, has_nic: bool
) -> None:
    if not has_nic:
        bench.network.unplug(bench.port)
        bench.node.look()
    bench.node.namespace.ip(f"{addition} dev {bench.pod_link}")
    bench.pod.namespace.ip(f"addr add {names.METADATA_V4}/32 dev eth0")
    bench.pod.namespace.listen(8099)
    bench.node.look()
    assert bench.node.namespace.ask(names.METADATA_V4, 8099) is None


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
