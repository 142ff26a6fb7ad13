"""Pods of a version whose gateway had another address, and routes of their own by that."""

# pyright: reportPrivateUsage=false

from collections.abc import Callable, Generator

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.inside import former_gateways
from openeni_nodeagent.datapath.linux.namespace import in_namespace
from openeni_nodeagent.datapath.linux.netlink import ENTRIES_IN_POD
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_nodeagent.datapath.pod_messages import template
from openeni_testing.network import neutron
from openeni_testing.network.reached_pod import ReachedPod

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
FORMER = "fe80::1"
SECOND_LINK = (
    "link add net1 type veth peer name peer1",
    "link set net1 up",
    "link set peer1 up",
)


def forget_plans() -> None:
    plan_pod.cache_clear()
    template._checked_template.cache_clear()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Generator[ReachedPod]:
    forget_plans()
    monkeypatch.setattr(names, "GATEWAY_V6_L2", FORMER)
    made = ReachedPod(Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2)))
    monkeypatch.undo()
    forget_plans()
    yield made
    made.close()


def neighbours(bench: ReachedPod) -> str:
    return bench.pod.namespace.program("ip", "-6", "neigh", "show", "dev", "eth0", "nud", "all")


def test_a_pod_is_brought_to_the_gateway_of_now(bench: ReachedPod) -> None:
    assert FORMER in neighbours(bench)
    bench.node.look(into=True)
    assert f"{FORMER} " not in neighbours(bench)
    assert bench.check() == ()
    bench.assert_connected()


def test_a_former_gateway_stays_as_long_as_a_route_of_the_pods_own_goes_by_it(
    bench: ReachedPod,
) -> None:
    """As a VPN client adds one to its server, by the gateway that it finds."""
    route = f"{neutron.OUTSIDE_6}/128 via {FORMER} dev eth0"
    bench.pod.namespace.ip(f"route add {route}")
    bench.node.look(into=True)
    assert bench.check() == ()
    bench.assert_connected()
    shown = bench.pod.namespace.program("ip", "-6", "route", "show", "default")
    assert names.GATEWAY_V6_L2 in shown
    assert f"{FORMER} " in neighbours(bench)
    bench.pod.namespace.ip(f"route del {route}")
    bench.node.look(into=True)
    assert f"{FORMER} " not in neighbours(bench)
    bench.assert_connected()


def test_a_default_route_that_the_pod_has_tuned_keeps_its_gateway(bench: ReachedPod) -> None:
    """The kernel refuses the planned one beside it: the pod is not ready, and goes on."""
    bench.pod.namespace.ip(f"route replace ::/0 via {FORMER} dev eth0 mtu 1300")
    for _ in range(2):
        (why,) = bench.node.look(into=True).differing.values()
        assert "::/0" in why
        bench.assert_connected()


def test_a_route_by_the_gateway_and_another_one_keeps_it(bench: ReachedPod) -> None:
    hops = f"nexthop via {FORMER} dev eth0 nexthop via fe80::99 dev net1"
    bench.pod.namespace.ip(*SECOND_LINK, f"route add {neutron.OUTSIDE_6}/128 {hops}")
    bench.node.look(into=True)
    assert bench.check() == ()
    assert f"{FORMER} " in neighbours(bench)


def test_the_gateway_stays_where_the_kernel_refuses_the_one_of_now(bench: ReachedPod) -> None:
    pod = bench.pod.namespace
    pod.ip(f"addr add {names.GATEWAY_V6_L2}/128 dev eth0 nodad")
    (why,) = bench.node.look(into=True).differing.values()
    assert "EINVAL" in why
    assert pod.ask(neutron.OUTSIDE_6, 80) is not None


def test_a_router_of_that_name_on_another_link_of_the_pods_is_none_of_it(
    bench: ReachedPod,
) -> None:
    bench.pod.namespace.ip(*SECOND_LINK, f"route add fd77::/64 via {FORMER} dev net1")
    bench.node.look(into=True)
    assert f"{FORMER} " not in neighbours(bench)
    bench.assert_connected()


@pytest.mark.parametrize(("link", "is_kept"), [("eth0", True), ("net1", False)])
def test_however_many_routes_a_pod_has_it_is_looked_into(
    bench: ReachedPod, link: str, *, is_kept: bool
) -> None:
    """With more of its own on the interface than are read, the gateway counts as used."""
    pod = bench.pod.namespace
    pod.ip(*SECOND_LINK)
    pod.ip(*(f"route add fd77::{n:x}/128 dev {link}" for n in range(ENTRIES_IN_POD)))
    pod.ip("route del default")
    assert bench.node.look(into=True).differing == {}
    assert bench.check() == ()
    assert (f"{FORMER} " in neighbours(bench)) == is_kept
    bench.assert_connected()


def test_neighbours_that_a_pod_calls_openenis_are_no_gateways(
    bench: ReachedPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a pod has, its routes are read once."""
    theirs = [f"fe80::77:{n:x}" for n in range(50)]
    pod = bench.pod.namespace
    pod.ip(
        *(
            f"neigh add {a} lladdr {bench.eni.mac} dev eth0 nud permanent protocol 94"
            for a in theirs
        ),
        *(f"route add fd77::{n:x}/128 via {a} dev eth0" for n, a in enumerate(theirs)),
    )
    looked: list[int] = []

    def counted(namespace: int, work: Callable[[], int]) -> int:
        looked.append(namespace)
        return in_namespace(namespace, work)

    monkeypatch.setattr(former_gateways, "in_namespace", counted)
    bench.node.look(into=True)
    assert len(looked) == 1
    assert neighbours(bench).count("PERMANENT") == 1
    assert bench.check() == ()
