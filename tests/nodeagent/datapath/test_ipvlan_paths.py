"""ipvlan in its three modes: every path of the contract, on a kernel that has it."""

from collections.abc import Generator

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import neutron
from openeni_testing.network.paths import PATHS, V4_ONLY
from openeni_testing.network.world import World

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
MODES = list(IPVlanMode)
DUAL = [IPVlanMode.L2, IPVlanMode.L3S]  # in l3 the network must answer: the bridge does for ARP


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Generator[World]:
    mode: IPVlanMode = request.param
    made = World(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), dual=mode in DUAL)
    yield made
    made.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("world", MODES, indirect=True)
def test_packets_arrive_and_none_is_spoofed(world: World, path: str) -> None:
    PATHS[path](world, 4)
    assert world.network.dropped() == {}


@pytest.mark.parametrize("path", [path for path in PATHS if path not in V4_ONLY])
@pytest.mark.parametrize("world", DUAL, indirect=True)
def test_packets_arrive_and_none_is_spoofed_over_ipv6(world: World, path: str) -> None:
    PATHS[path](world, 6)
    assert world.network.dropped() == {}


@pytest.mark.parametrize("world", MODES, indirect=True)
def test_the_pods_are_as_planned_after_all_that(world: World) -> None:
    for name in ("a1", "b1"):
        pod = world.pods[name]
        assert world.node.run(world.node.datapath.check, pod.facts, pod.namespace.path) == ()


@pytest.mark.parametrize("world", [IPVlanMode.L2], indirect=True)
def test_an_l2_pod_is_not_redirected_past_the_node(world: World) -> None:
    """The node sees a pod's packets leave by the link they came in on, and would say so by ICMP.

    A pod that listened would answer a NodePort's client past the node's conntrack.
    """
    pod = world.pods["a1"].namespace
    for address, gateway in ((neutron.OUTSIDE, "169.254.1.1"), (neutron.OUTSIDE_6, "fe80::1")):
        for _ in range(12):
            assert pod.ping(address)
        assert f"via {gateway}" in pod.program("ip", "route", "get", address)


@pytest.mark.parametrize("world", MODES, indirect=True)
def test_a_pods_root_finds_no_way_round_to_the_metadata_service(world: World) -> None:
    pod = world.pods["a2"].namespace
    words = f"{neutron.METADATA} via {neutron.GATEWAY} dev eth0 onlink"
    assert world.remote.ask(neutron.METADATA, 80)
    pod.ip(f"route add {words}")
    assert pod.ask(neutron.METADATA, 80) is None
    pod.ip(f"route del {words}")
