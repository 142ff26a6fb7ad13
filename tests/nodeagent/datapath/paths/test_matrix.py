"""A sample of the support table, with real packets; `make matrix` sends those of every cell."""

from pathlib import Path
from typing import Final

import pytest

from openeni_testing.matrix.axes import DUAL, MODES, Proxy, Traffic
from openeni_testing.matrix.cells import WorldKey
from openeni_testing.matrix.command import PAGE
from openeni_testing.matrix.page import committed
from openeni_testing.matrix.paths import Metadata, NodePort
from openeni_testing.matrix.run import differences, run
from openeni_testing.matrix.sample import OF_IPVLAN, OF_VETH, chosen
from openeni_testing.matrix.traffic import Flow, send
from openeni_testing.matrix.world import World

pytestmark = pytest.mark.root
WORLDS: Final = [
    *(pytest.param(key, id=str(key)) for key in OF_VETH),
    *(pytest.param(key, id=str(key), marks=pytest.mark.ipvlan) for key in OF_IPVLAN),
    # Once more, where flows bypass the stack: this machine's kernel may have no flowtables.
    *(
        pytest.param(key, id=f"{key}, again", marks=pytest.mark.ipvlan)
        for key in OF_VETH
        if (key.stack, key.proxy) == (DUAL, Proxy.NFTABLES)
    ),
]
IN_ONE_SUBNET: Final = [
    *(pytest.param(key, id=str(key)) for key in OF_VETH if key.stack == DUAL),
    *(
        pytest.param(key, id=str(key), marks=pytest.mark.ipvlan)
        for key in OF_IPVLAN
        if key.proxy is not Proxy.IPVS
    ),
]


@pytest.mark.parametrize("key", WORLDS)
def test_packets_arrive_as_the_support_table_says_and_none_is_spoofed(key: WorldKey) -> None:
    outcomes = run(key, chosen(key))
    assert list(differences(outcomes, committed(PAGE.read_text()))) == []


@pytest.mark.parametrize("key", IN_ONE_SUBNET)
def test_packets_arrive_where_nodes_and_pods_have_one_subnet(key: WorldKey) -> None:
    """The node may be seen by another of its addresses than the table says."""
    outcomes = run(key, chosen(key), one_subnet=True)
    assert list(differences(outcomes, outcomes)) == []


def test_the_metadata_service_that_no_pod_reaches_answers_a_vm_of_their_subnet(
    tmp_path: Path,
) -> None:
    """In both families: else its cells would say nothing."""
    world = World(MODES[0], DUAL, Proxy.NONE, tmp_path)
    try:
        for family in DUAL.families:
            flow = Flow(world.destination(Metadata(), family), family, int, expected=True)
            for traffic in (Traffic.TCP, Traffic.UDP):
                reply = world.machines["remote"].run(send, traffic, flow)
                assert reply is not None, (family, traffic)
                assert reply.server == "fabric"
    finally:
        world.close()


def test_a_strict_rp_filter_on_the_nodes_nic_stops_no_client_of_a_node_port() -> None:
    """It looks for the way back to the client without a mark, so in the main table."""
    (key,) = (k for k in OF_VETH if (k.stack, k.proxy) == (DUAL, Proxy.NFTABLES))
    cells = [
        cell
        for cell in key.cells()
        if isinstance(cell.path.target, NodePort) and cell.traffic is Traffic.TCP
    ]
    outcomes = run(key, cells, strict_rp_filter)
    assert list(differences(outcomes, committed(PAGE.read_text()))) == []


def strict_rp_filter(world: World) -> None:
    world.node.namespace.sysctl("net/ipv4/conf/eth0/rp_filter", "1")
