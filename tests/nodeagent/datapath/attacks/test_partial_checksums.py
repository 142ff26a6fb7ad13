"""A pod has a partial checksum completed over its packet's receiver, behind the node's filters."""

from collections.abc import Generator, Sequence

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import neutron, partial_checksums
from openeni_testing.network.attacks import addresses_of, captured
from openeni_testing.network.neutron import Port
from openeni_testing.network.topology import Topology

pytestmark = pytest.mark.root
VETH = pytest.param(Datapath(Mode.VETH), id="veth")
L2, L3S = (
    pytest.param(
        Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}", marks=pytest.mark.ipvlan
    )
    for mode in (IPVlanMode.L2, IPVlanMode.L3S)
)


@pytest.fixture(scope="module")
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    made = Topology(request.param, dual=True)
    yield made
    made.close()


@pytest.mark.parametrize("topology", [VETH, L3S], indirect=True)
@pytest.mark.parametrize("target", [names.METADATA_V4, names.METADATA_V6])
def test_no_packet_to_the_metadata_service_leaves_the_eni(topology: Topology, target: str) -> None:
    pod = topology.pods["a1"]
    of_family = partial_checksums.fragments_6 if ":" in target else partial_checksums.fragments_4
    sent = of_family(pod.pod_network.pod_mac, pod.facts.addresses[":" in target], target)
    unfiltered, filtered = receivers(topology, sent)
    assert target not in filtered
    if target not in unfiltered:
        pytest.skip("this kernel completes no checksum over an address of this family")


@pytest.mark.parametrize("topology", [VETH, L2, L3S], indirect=True)
def test_the_enis_nic_does_not_complete_it_either(topology: Topology) -> None:
    pod = topology.pods["a1"]
    macs = pod.pod_network.pod_mac, pod.pod_network.host_mac
    if topology.datapath.ipvlan_mode is IPVlanMode.L2:  # it sends to the wire itself
        macs = macs[0], neutron.ROUTER_MAC
    topology.node.namespace.run(partial_checksums.complete_no_checksums, "ens10")
    sent = partial_checksums.packet_6(*macs, pod.facts.addresses[1], names.METADATA_V6)
    unfiltered, filtered = receivers(topology, sent)
    assert names.METADATA_V6 in unfiltered
    assert names.METADATA_V6 not in filtered


def receivers(
    topology: Topology, sent: Sequence[partial_checksums.Frame]
) -> tuple[set[str], set[str]]:
    """Return the receivers of what leaves the ENI without and with its egress chain."""
    pod, node = topology.pods["a1"].namespace, topology.node
    place = (topology.network.fabric, Port("eni-a", "").device)

    def attack() -> None:
        pod.run(partial_checksums.send, "eth0", sent)

    def seen() -> set[str]:
        (found,) = captured(pod, attack, neutron.GATEWAY_6, place)
        return {addresses_of(frame)[1] for frame in found}

    node.namespace.nft(f"delete table netdev {names.NFT_TABLE}")
    without = seen()
    node.look()
    return without, seen()
