"""What others change of the links that openeni has made on the node: the next look restores it."""

from collections.abc import Callable

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import ADDRESSES, ReachedPod

pytestmark = pytest.mark.root


def put_into_a_bridge(bench: ReachedPod, link: str = "ens7") -> None:
    bench.node.namespace.ip("link add br9 type bridge", "link set br9 up")
    bench.node.namespace.ip(f"link set {link} master br9")


@pytest.mark.parametrize("bench", [m for m in MODES if m.id != "veth"], indirect=True)
@pytest.mark.parametrize("arp", ["on", "off"])
def test_the_nodes_slave_asks_for_neighbours_as_its_mode_has_it(
    bench: ReachedPod, arp: str
) -> None:
    """Nobody answers the one of l3s and l3, which has all on its link."""
    bench.node.namespace.ip(f"link set {bench.pod_link} arp {arp}")
    bench.heal()
    assert bench.check() == ()
    bench.assert_connected()


def forward_nothing(bench: ReachedPod) -> None:
    bench.node.namespace.sysctl(f"net/ipv4/conf/{bench.pod_link}/forwarding", "0")


def make_again_when_nothing_is_forwarded_by_default(bench: ReachedPod) -> None:
    bench.node.namespace.sysctl("net/ipv4/conf/default/forwarding", "0")
    bench.node.namespace.ip(f"link del {bench.pod_link}")


def put_the_pod_into_a_bridge(bench: ReachedPod) -> None:
    put_into_a_bridge(bench, bench.pod_link)


def lower_the_pods_mtu(bench: ReachedPod) -> None:
    bench.node.namespace.ip(f"link set {bench.pod_link} mtu 1000")


def replace_the_pods_routes(bench: ReachedPod) -> None:
    for address in ADDRESSES:
        bench.node.namespace.ip(
            f"route replace {address} dev {bench.pod_link} table {names.TABLE_PODS}"
        )


def rename_the_pods_link(bench: ReachedPod) -> None:
    bench.node.namespace.ip(f"link set {bench.pod_link} name theirs")


def move_the_pods_link(bench: ReachedPod) -> None:
    bench.node.namespace.ip(f"link set {bench.pod_link} netns {bench.remote.thread_id}")


def take_the_pods_link_as_ones_own(bench: ReachedPod) -> None:
    bench.node.namespace.ip(f"link set {bench.pod_link} alias theirs group default")


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
@pytest.mark.parametrize(
    "damage",
    [
        put_into_a_bridge,
        forward_nothing,
        make_again_when_nothing_is_forwarded_by_default,
        put_the_pod_into_a_bridge,
        lower_the_pods_mtu,
        replace_the_pods_routes,
        rename_the_pods_link,
        move_the_pods_link,
        take_the_pods_link_as_ones_own,
    ],
)
def test_what_is_done_by_hand_to_links_of_veth_is_restored(
    bench: ReachedPod, damage: Callable[[ReachedPod], None]
) -> None:
    damage(bench)
    assert bench.heal() > 0
    assert bench.check() == ()
    bench.network.forget_dropped()
    bench.assert_connected()


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_a_pod_whose_link_has_got_another_alias_is_not_built_again(bench: ReachedPod) -> None:
    """Its connections would end for what somebody, or a monitoring, has written there."""
    bench.node.namespace.ip(f"link set {bench.pod_link} alias theirs")
    report = bench.node.look()
    assert (report.broken, len(report.repairs)) == (frozenset(), 1)
    assert bench.check() == ()


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_a_pod_keeps_the_bridge_that_it_has_put_its_link_into(bench: ReachedPod) -> None:
    """As KubeVirt does with its virtual machines'."""
    pod = bench.pod.namespace
    pod.ip("link add br9 type bridge", "link set eth0 master br9", "link set eth0 mtu 1500")
    bench.heal()
    assert "mtu 1450 qdisc noqueue master br9" in pod.program("ip", "link", "show", "eth0")
