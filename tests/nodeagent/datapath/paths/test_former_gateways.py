"""Pods of a version whose gateway had another address, and routes of their own by that."""

from collections.abc import Generator

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.plan import plan_pod
from openeni_testing.network import neutron
from openeni_testing.network.reached_pod import ReachedPod

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
FORMER = "fe80::1"
SECOND_LINK = (
    "link add net1 type veth peer name peer1",
    "link set net1 up",
    "link set peer1 up",
)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Generator[ReachedPod]:
    plan_pod.cache_clear()
    monkeypatch.setattr(names, "GATEWAY_V6_L2", FORMER)
    made = ReachedPod(Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2)))
    monkeypatch.undo()
    plan_pod.cache_clear()
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


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param((f"route replace ::/0 via {FORMER} dev eth0 mtu 1300",), id="tuned"),
        pytest.param((*SECOND_LINK, "route append ::/0 via fe80::99 dev net1"), id="one of two"),
    ],
)
def test_a_default_route_that_the_pod_has_changed_keeps_its_gateway(
    bench: ReachedPod, commands: tuple[str, ...]
) -> None:
    """The kernel refuses the planned one beside it: the pod is not ready, and goes on."""
    bench.pod.namespace.ip(*commands)
    for _ in range(2):
        (why,) = bench.node.look(into=True).differing.values()
        assert "::/0" in why
        assert f"{FORMER} " in neighbours(bench)
    if len(commands) == 1:
        bench.assert_connected()
