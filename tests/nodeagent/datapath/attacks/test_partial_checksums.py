"""A pod has a partial checksum completed over its packet's receiver, behind the node's filters."""

from collections.abc import Generator

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import neutron, partial_checksums
from openeni_testing.network.attacks import addresses_of, captured
from openeni_testing.network.neutron import Port
from openeni_testing.network.topology import Topology

pytestmark = pytest.mark.root
L3S = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Datapath(Mode.VETH), id="veth"),
        pytest.param(L3S, id="ipvlan-L3S", marks=pytest.mark.ipvlan),
    ],
)
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    made = Topology(request.param, dual=True)
    yield made
    made.close()


@pytest.mark.parametrize("target", [names.METADATA_V4, names.METADATA_V6])
def test_no_packet_to_the_metadata_service_leaves_the_eni(topology: Topology, target: str) -> None:
    pod = topology.pods["a1"]
    of_family = partial_checksums.fragments_6 if ":" in target else partial_checksums.fragments_4
    sent = of_family(pod.pod_network.pod_mac, pod.facts.addresses[":" in target], target)
    place = (topology.network.fabric, Port("eni-a", "").device)

    def attack() -> None:
        pod.namespace.run(partial_checksums.send, "eth0", sent)

    def receivers() -> set[str]:
        honest = neutron.GATEWAY_6 if ":" in target else neutron.GATEWAY
        (seen,) = captured(pod.namespace, attack, honest, place)
        return {addresses_of(frame)[1] for frame in seen}

    topology.node.namespace.nft(f"delete table netdev {names.NFT_TABLE}")
    unfiltered = receivers()
    topology.node.look()
    assert target not in receivers()
    if target not in unfiltered:
        pytest.skip("this kernel completes no checksum over an address of this family")
