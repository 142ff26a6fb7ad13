"""ipvlan in its three modes: every path of the contract, on a kernel that has it."""

from collections.abc import Generator

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode, Mode
from openeni_testing import neutron_network as neutron
from openeni_testing.datapath_paths import PATHS, V4_ONLY
from openeni_testing.datapath_world import World

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
# In l3 the network has to answer for the pods, and the test's bridge answers ARP, not ND.
CASES = [
    pytest.param(mode, path, family, id=f"{mode}-{path}-ipv{family}")
    for mode in IPVlanMode
    for path in PATHS
    for family in ((4,) if mode is IPVlanMode.L3 or path in V4_ONLY else (4, 6))
]


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest) -> Generator[World]:
    mode: IPVlanMode = request.param
    made = World(Datapath(Mode.IPVLAN, mode), dual=mode is not IPVlanMode.L3)
    yield made
    made.close()


@pytest.mark.parametrize(("world", "path", "family"), CASES, indirect=["world"])
def test_packets_arrive_and_none_is_spoofed(world: World, path: str, family: int) -> None:
    PATHS[path](world, family)
    assert world.network.dropped() == {}


@pytest.mark.parametrize("world", list(IPVlanMode), indirect=True)
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
