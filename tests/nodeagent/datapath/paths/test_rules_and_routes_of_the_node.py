"""Rules and routes of the node's own, which openeni leaves alone, and which cut its pods off."""

from collections.abc import Callable, Generator

import pytest

from openeni_nodeagent.datapath_api import NICMissingError
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import ADDRESSES, SECOND, ReachedPod

pytestmark = pytest.mark.root
BY_THE_STACK = [mode for mode in MODES if mode.id in ("veth", "ipvlan-L2")]
OF_LAYER_3 = [mode for mode in MODES if mode.id in ("ipvlan-L3S", "ipvlan-L3")]
ANSWERED_FOR = [mode for mode in MODES if mode.id in ("veth", "ipvlan-L3S")]
OTHERS = [mode for mode in MODES if mode.id in ("ipvlan-L2", "ipvlan-L3")]


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[ReachedPod]:
    made = ReachedPod(request.param)
    yield made
    made.close()


def move_local(bench: ReachedPod, family: int) -> None:
    """As who uses VRFs does (ifupdown2)."""
    for words in ("add pref 32765 lookup local", "del pref 0"):
        bench.node.namespace.program("ip", f"-{family}", "rule", *words.split())


def forget_neighbours(bench: ReachedPod) -> None:
    """Have the network ask for the pods' MAC addresses again."""
    for namespace in (bench.remote, bench.network.fabric):
        namespace.ip("neigh flush all")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("bench", BY_THE_STACK, indirect=True)
def test_an_eni_whose_pods_do_not_find_their_node_is_refused_until_they_do(
    bench: ReachedPod, family: int
) -> None:
    move_local(bench, family)
    message = str(bench.node.look(into=True).errors[bench.eni.name])
    assert message.startswith(f"no IPv{family} rule for the table local precedes openeni's ")
    assert "the first is rule 32765" in message
    with pytest.raises(NICMissingError, match="no IPv"):
        bench.add("second", SECOND)
    _, remedy = message.rsplit(": ip ", 1)
    bench.node.namespace.program("ip", *remedy.split())
    assert bench.node.look(into=True).errors == {}
    bench.add("second", SECOND)
    bench.assert_connected()


@pytest.mark.parametrize(
    "condition", ["not from all", "uidrange 1000-1999", "ipproto tcp", "tos 0x10", "from 192.0.2.1"]
)
@pytest.mark.parametrize("bench", MODES[:1], indirect=True)
def test_a_rule_for_some_packets_alone_does_not_lead_pods_to_their_node(
    bench: ReachedPod, condition: str
) -> None:
    move_local(bench, 4)
    bench.node.namespace.ip(f"rule add pref 0 {condition} lookup local")
    message = str(bench.node.look(into=True).errors[bench.eni.name])
    assert "the first is rule 32765" in message


@pytest.mark.parametrize("bench", OF_LAYER_3, indirect=True)
def test_pods_that_ipvlan_leads_to_their_node_find_it_wherever_that_rule_stands(
    bench: ReachedPod,
) -> None:
    for family in (4, 6):
        move_local(bench, family)
    assert bench.node.look(into=True).errors == {}
    bench.assert_connected()


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit"])
@pytest.mark.parametrize("bench", ANSWERED_FOR, indirect=True)
def test_an_eni_whose_subnet_the_node_rejects_is_refused_until_it_does_not(
    bench: ReachedPod, kind: str
) -> None:
    """As those do who harden nodes by rejecting what is private and has no route of its own."""
    node = bench.node.namespace
    node.ip(
        f"route add {kind} 10.0.0.0/8",
        f"route add {kind} 10.0.0.0/7",
        "rule add pref 20000 from 10.99.0.11/24 lookup main",  # as nodes with several NICs have it
    )
    message = str(bench.node.look(into=True).errors[bench.eni.name])
    assert message.startswith(f"route {kind} 10.0.0.0/8 table 254 has the kernel drop ")
    assert "10.98.0.0/24" in message
    with pytest.raises(NICMissingError, match=kind):
        bench.add("second", SECOND)
    node.ip("route add 10.98.0.0/24 via 10.99.0.1")
    assert bench.node.look(into=True).errors == {}
    forget_neighbours(bench)
    bench.add("second", SECOND)
    bench.assert_connected()


@pytest.mark.parametrize("bench", OTHERS, indirect=True)
def test_pods_that_answer_for_themselves_are_reached_whatever_the_node_rejects(
    bench: ReachedPod,
) -> None:
    bench.node.namespace.ip("route add blackhole 10.0.0.0/8")
    assert bench.node.look(into=True).errors == {}
    forget_neighbours(bench)
    assert bench.remote.ask(ADDRESSES[0], 80) is not None
    bench.assert_connected()


def test_a_node_without_a_route_to_its_pods_is_no_node_that_rejects_them(
    bench: ReachedPod,
) -> None:
    """As nodes of a closed network are."""
    for family in (4, 6):
        bench.node.namespace.program("ip", f"-{family}", "route", "del", "default")
    assert bench.node.look(into=True).errors == {}
    forget_neighbours(bench)
    bench.assert_connected()


def let_pods_pass(bench: ReachedPod) -> None:
    """The null route of a hardened node, and the rule by which its administrator lets pods pass."""
    bench.node.namespace.ip(
        "route add unreachable 10.0.0.0/8",
        "route add default via 10.99.0.1 table 100",
        "rule add pref 20000 from 10.98.0.0/24 lookup 100",
    )


def reject_what_the_node_sends(bench: ReachedPod) -> None:
    """To private networks that are not its own; the kernel asks with a pod's link as `iif`."""
    bench.node.namespace.ip(
        "rule add pref 1000 iif lo to 10.99.0.0/24 lookup main",
        "rule add pref 1001 iif lo to 10.0.0.0/8 prohibit",
    )


@pytest.mark.parametrize("damage", [let_pods_pass, reject_what_the_node_sends])
@pytest.mark.parametrize("bench", ANSWERED_FOR, indirect=True)
def test_an_eni_is_served_where_the_node_rejects_others_than_its_pods(
    bench: ReachedPod, damage: Callable[[ReachedPod], None]
) -> None:
    damage(bench)
    forget_neighbours(bench)
    assert bench.node.look(into=True).errors == {}
    bench.add("second", SECOND)
    bench.assert_connected()


@pytest.mark.parametrize("bench", ANSWERED_FOR, indirect=True)
def test_the_route_that_is_named_is_one_that_the_kernel_asks(bench: ReachedPod) -> None:
    bench.node.namespace.ip(
        "route add unreachable 10.98.0.0/24 table 100", "route add unreachable 10.0.0.0/8"
    )
    message = str(bench.node.look(into=True).errors[bench.eni.name])
    assert message.startswith("route unreachable 10.0.0.0/8 table 254 has the kernel drop ")
