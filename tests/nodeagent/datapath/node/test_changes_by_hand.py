"""What others change of an ENI or a pod's link: the next look restores it, and packets arrive."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.node.placement import KernelSnapshot
from openeni_nodeagent.datapath.node.reconcile import NodeReconcile
from openeni_nodeagent.datapath_api import DatapathError
from openeni_testing.network import neutron
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import ADDRESSES, ReachedPod
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
WITH_IPV6 = [mode for mode in MODES if mode.id != f"ipvlan-{IPVlanMode.L3}"]


def flush_addresses(bench: ReachedPod) -> None:
    bench.node.namespace.ip("addr flush dev ens7")


def flush_link_local_addresses(bench: ReachedPod) -> None:
    """Without one, the kernel asks for no neighbour of what it forwards."""
    arguments = ("addr", "flush", "dev", "ens7", "scope", "link")
    bench.node.namespace.program("ip", "-6", *arguments)


def flap_without_link_local_addresses(bench: ReachedPod) -> None:
    bench.node.namespace.sysctl("net/ipv6/conf/ens7/addr_gen_mode", "1")
    bench.node.namespace.ip("link set ens7 down", "link set ens7 up")


def forward_no_ipv6(bench: ReachedPod) -> None:
    """Of one link: it answers no neighbour solicitation for others, whatever `all` says."""
    bench.node.namespace.sysctl("net/ipv6/conf/ens7/forwarding", "0")


def forward_nothing_by_default_and_plug_again(bench: ReachedPod) -> None:
    for family in ("ipv4", "ipv6"):
        bench.node.namespace.sysctl(f"net/{family}/conf/default/forwarding", "0")
    bench.network.unplug(bench.port)
    bench.port = bench.plug("ens7")


def answer_arp_for_others(bench: ReachedPod) -> None:
    """For every address that the node has a route to by another link."""
    bench.node.namespace.sysctl("net/ipv4/conf/ens7/proxy_arp", "1")


def ask_for_no_neighbours(bench: ReachedPod) -> None:
    bench.node.namespace.ip("link set ens7 arp off")


def flush_the_kernels_own_routes(bench: ReachedPod) -> None:
    """By those to addresses the kernel answers who asks for them, and asks by that to ff00::/8."""
    for family in ("-4", "-6"):
        bench.node.namespace.program("ip", family, "route", "flush", "table", "all", "dev", "ens7")


def lower_the_mtu(bench: ReachedPod) -> None:
    """Below 1,280 the kernel removes IPv6 from a link, with its sysctls."""
    bench.node.namespace.ip("link set ens7 mtu 1000")


def replace_the_default_route(bench: ReachedPod) -> None:
    table = names.eni_table(bench.node.look().links[bench.eni.name].ifindex)
    bench.node.namespace.ip(f"route replace unreachable default table {table}")


def make_the_filters_dormant(bench: ReachedPod) -> None:
    """They are listed as before, and no packet meets them."""
    node = bench.node.namespace
    for line in node.program("nft", "list", "tables").splitlines():
        if line.endswith(f" {names.NFT_TABLE}"):
            node.nft(f"add {line} {{ flags dormant; }}")


def drop_what_no_rule_does(bench: ReachedPod) -> None:
    """The chain's rules stay as they are."""
    bench.node.namespace.nft(f"chain inet {names.NFT_TABLE} guard {{ policy drop; }}")


def drop_in_a_chain_of_ones_own(bench: ReachedPod) -> None:
    """In openeni's table. It has no rules that a list of those would show."""
    chain = "{ type filter hook prerouting priority 0; policy drop; }"
    bench.node.namespace.nft(f"add chain inet {names.NFT_TABLE} theirs {chain}")


def jump_to_a_chain_of_ones_own(bench: ReachedPod) -> None:
    """In openeni's table. nft does not delete a chain that another one jumps to."""
    table = f"inet {names.NFT_TABLE}"
    bench.node.namespace.nft(
        f"add chain {table} theirs\n"
        f"insert rule {table} guard jump theirs\n"
        f"insert rule {table} reply_in jump theirs\n"
        f"flush chain {table} service"
    )
    bench.node.namespace.ip(f"rule del pref {names.RULE_TO_POD}")


DAMAGES: tuple[Callable[[ReachedPod], None], ...] = (
    flush_addresses,
    flush_link_local_addresses,
    flap_without_link_local_addresses,
    forward_no_ipv6,
    forward_nothing_by_default_and_plug_again,
    answer_arp_for_others,
    ask_for_no_neighbours,
    flush_the_kernels_own_routes,
    lower_the_mtu,
    replace_the_default_route,
    make_the_filters_dormant,
    drop_what_no_rule_does,
    drop_in_a_chain_of_ones_own,
    jump_to_a_chain_of_ones_own,
)


@pytest.mark.parametrize("bench", WITH_IPV6, indirect=True)
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_done_by_hand_to_an_eni_is_restored(
    bench: ReachedPod, damage: Callable[[ReachedPod], None]
) -> None:
    damage(bench)
    looks = bench.heal()
    assert looks <= (2 if damage is lower_the_mtu else 1)
    assert looks or damage is forward_nothing_by_default_and_plug_again  # which is no repair
    assert bench.check() == ()
    bench.network.forget_dropped()
    for space in (bench.node.namespace, bench.network.fabric, bench.remote):
        space.program("ip", "neigh", "flush", "nud", "reachable", "nud", "stale", "nud", "failed")
    bench.assert_connected()
    for primary in bench.eni.primary:
        assert bench.remote.ping(primary)


def test_pods_are_reached_once_their_nic_has_a_carrier_again(bench: ReachedPod) -> None:
    """Kernels delete proxies without a word; newer ones keep them."""

    def has_carrier() -> bool:
        return "LOWER_UP" in bench.node.namespace.program("ip", "link", "show", "ens7")

    bench.network.fabric.ip(f"link set {bench.port.device} down")
    wait_for(lambda: not has_carrier(), "it has lost it")
    bench.network.fabric.ip(f"link set {bench.port.device} up")
    wait_for(has_carrier, "it has it again")
    bench.network.fabric.program("ip", "neigh", "flush", "all")
    bench.assert_connected()


@pytest.mark.parametrize(
    "bench", [m for m in MODES if m.id in {"veth", f"ipvlan-{IPVlanMode.L2}"}], indirect=True
)
def test_a_look_says_that_the_node_has_other_addresses(bench: ReachedPod) -> None:
    """Routes in pods are planned with these. In the other modes the host's slave keeps them."""
    assert [bench.node.look().readdressed for _ in range(2)][1:] == [False]
    bench.node.namespace.ip("addr del 10.99.0.11/24 dev eth0")
    assert [bench.node.look().readdressed for _ in range(2)] == [True, False]


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_an_address_of_the_node_that_is_still_tentative_is_no_source(bench: ReachedPod) -> None:
    node = bench.node.namespace
    node.sysctl("net/ipv6/conf/eth0/accept_dad", "1")
    node.ip("addr del fd99::11/64 dev eth0", "addr add fd99::11/64 dev eth0")
    assert "tentative" in node.program("ip", "-6", "addr", "show", "dev", "eth0")
    report = bench.node.look()
    assert (report.errors, report.differing) == ({}, {})


@pytest.mark.parametrize("bench", [m for m in WITH_IPV6 if m.id != "veth"], indirect=True)
def test_a_link_local_address_of_the_nodes_slave_is_removed(bench: ReachedPod) -> None:
    """It is none that the port allows."""
    node, arguments = bench.node.namespace, ("addr", "show", "dev", bench.pod_link)
    node.sysctl("net/ipv6/conf/all/addr_gen_mode", "0")
    assert "fe80:" in node.program("ip", "-6", *arguments)
    assert bench.heal() == 1
    assert "fe80:" not in node.program("ip", "-6", *arguments)


def test_what_the_kernel_refuses_is_an_error_and_no_repair(bench: ReachedPod) -> None:
    bench.node.enis = [replace(bench.eni, mtu=70_000)]
    for _ in range(2):
        report = bench.node.look()
        assert "mtu 70000" in str(report.errors[bench.eni.name])
        assert report.repairs == ()


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_an_add_to_an_eni_that_the_last_look_could_not_restore_says_why(bench: ReachedPod) -> None:
    bench.node.enis = [replace(bench.eni, mtu=70_000)]
    bench.node.look()
    with pytest.raises(DatapathError, match="mtu 70000"):
        bench.add_again()


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_a_pod_that_was_deleted_while_a_look_ran_is_no_repair(bench: ReachedPod) -> None:
    snapshot = bench.node.namespace.run(bench.node.datapath.observe, (bench.eni,))
    bench.node.delete(bench.pod)
    report = bench.node.look(snapshot=snapshot, strays=ADDRESSES)
    assert (report.repairs, report.left, report.errors) == ((), "", {})


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_a_pod_whose_nic_is_gone_does_not_leave_by_the_nodes_own(bench: ReachedPod) -> None:
    """What masquerades there would give it the node's address, and so the node's metadata."""
    node, pod = bench.node.namespace, bench.pod.namespace
    node.nft("table ip theirs { chain c { type nat hook postrouting priority 100; masquerade; }; }")
    bench.network.unplug(bench.port)
    for _ in range(2):
        assert bench.node.look().errors.keys() == {bench.eni.name}
        for address in (neutron.METADATA, neutron.OUTSIDE, neutron.OUTSIDE_6):
            assert pod.ask(address, 80) is None
    assert bench.network.dropped() == {}
    node.nft("delete table ip theirs")
    bench.port = bench.plug("ens7")
    assert bench.heal() <= 1
    bench.assert_connected()
    bench.network.unplug(bench.port)
    bench.node.delete(bench.pod)
    bench.node.enis.clear()
    assert bench.node.look(strays=ADDRESSES).left == ""
    assert names.NFT_TABLE not in node.program("nft", "list", "tables")
    assert f"proto {names.PROTOCOL}" not in node.program("ip", "rule")


@pytest.mark.parametrize(
    ("addresses", "what"),
    [
        (ADDRESSES, "it answers in the pod's place"),
        ((neutron.GATEWAY, neutron.GATEWAY_6), "what the pod's gateway sends is dropped"),
    ],
    ids=["the pod's", "its gateway's"],
)
def test_an_address_on_a_link_of_somebody_else_is_named_and_stays(
    bench: ReachedPod, addresses: Sequence[str], what: str
) -> None:
    if addresses != ADDRESSES and bench.eni.datapath.ipvlan_mode in {IPVlanMode.L2, IPVlanMode.L3}:
        what = ""  # what a gateway sends does not pass the node
    for address in addresses[: bench.families]:
        bench.node.namespace.ip("link add br0 type bridge", f"addr add {address} dev br0")
        named = f"{address} is an address of this node, on br0: {what}"
        expected = {bench.pod.facts: named} if what else {}
        for _ in range(2):
            report = bench.node.look()
            assert (report.differing, report.repairs) == (expected, ())
        bench.node.namespace.ip("link del br0")
        assert bench.node.look().differing == {}
    bench.assert_connected()


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_a_node_that_is_its_subnets_gateway_has_that_address_rightly(bench: ReachedPod) -> None:
    node = bench.node
    node.namespace.ip(f"addr add {neutron.GATEWAY}/32 dev lo")
    facts = replace(node.facts, addresses=(*node.facts.addresses, neutron.GATEWAY))
    assert node.look(facts=facts).differing == {}


def test_a_set_in_openenis_table_that_has_another_type_is_made_anew(bench: ReachedPod) -> None:
    """Of another release, or by a hand: it holds up all the chains."""
    wrong = f"table inet {names.NFT_TABLE} {{ set pods4 {{ type inet_service; }}; }}"
    bench.node.namespace.program("nft", "delete", "table", "inet", names.NFT_TABLE)
    bench.node.namespace.nft(f"add {wrong}")
    assert bench.node.look().errors == {}
    assert bench.check() == ()
    bench.assert_connected()


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_what_is_undone_while_a_look_lasts_is_noted_by_each_look(
    bench: ReachedPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a program that listens to the kernel: the ENI is in error, and was configured before."""
    again = vars(NodeReconcile)["_look_again"]
    delete = ("ip", "rule", "del", "pref", str(names.RULE_TO_POD))

    def undo(look: NodeReconcile) -> KernelSnapshot:
        subprocess.run(delete, check=True, timeout=10)  # in the namespace of the look's thread
        found: KernelSnapshot = again(look)
        return found

    bench.node.namespace.program(*delete)
    with monkeypatch.context() as patch:
        patch.setattr(NodeReconcile, "_look_again", undo)
        for _ in range(3):
            report = bench.node.look()
            assert report.errors
            assert [repair.kind for repair in report.repairs] == ["rule"]
    bench.heal()
    bench.assert_connected()
