"""What routes in ipvlan pods may not change: neither the network's ICMP nor the pod's own."""

from collections.abc import Generator

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import neutron
from openeni_testing.network.topology import Topology

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
DUAL = [IPVlanMode.L2, IPVlanMode.L3S]  # in l3 the network must answer: the bridge does for ARP


@pytest.fixture(scope="module")
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    mode: IPVlanMode = request.param
    made = Topology(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), dual=mode in DUAL)
    yield made
    made.close()


@pytest.mark.parametrize("topology", [IPVlanMode.L2], indirect=True)
def test_an_l2_pod_is_not_redirected_past_the_node(topology: Topology) -> None:
    """The node sees a pod's packets leave by the link they came in on, and would say so by ICMP.

    A pod that listened would answer a NodePort's client past the node's conntrack.
    """
    pod = topology.pods["a1"].namespace
    for address, gateway in (
        (neutron.OUTSIDE, names.GATEWAY_V4),
        (neutron.OUTSIDE_6, names.GATEWAY_V6_L2),
    ):
        for _ in range(12):
            assert pod.ping(address)
        assert f"via {gateway}" in pod.program("ip", "route", "get", address)


@pytest.mark.parametrize("topology", DUAL, indirect=True)
def test_a_router_that_calls_itself_fe80_1_reaches_pods(topology: Topology) -> None:
    """Many providers' do. It asks for a pod by that address, and the pod answers to it."""
    network, address = topology.network, topology.of("a1", 6)
    assert network.outside.ask(address, 80) is not None
    network.rename_router("fe80::1")
    try:
        assert network.outside.ask(address, 80) is not None
    finally:
        network.rename_router(neutron.ROUTER_LINK_LOCAL)


@pytest.mark.parametrize("topology", IPVlanMode, indirect=True)
def test_a_route_of_the_pods_own_does_not_reach_the_metadata_service(topology: Topology) -> None:
    pod = topology.pods["a2"].namespace
    words = f"{neutron.METADATA} via {neutron.GATEWAY} dev eth0 onlink"
    assert topology.remote.ask(neutron.METADATA, 80)
    pod.ip(f"route add {words}")
    assert pod.ask(neutron.METADATA, 80) is None
    pod.ip(f"route del {words}")
