"""A pod has a checksum filled in over its packet's receiver, behind the filters of the node.

Kernels differ in what of it they do; no packet may leave an ENI for the metadata service anyway.
"""

from collections.abc import Generator

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_testing.network import late_checksums, neutron
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
    of_family = late_checksums.fragments_6 if ":" in target else late_checksums.fragments_4
    sent = of_family(pod.pod_network.pod_mac, pod.facts.addresses[":" in target], target)
    place = (topology.network.fabric, Port("eni-a", "").device)

    def attack() -> None:
        pod.namespace.run(late_checksums.send, "eth0", sent)

    honest = neutron.GATEWAY_6 if ":" in target else neutron.GATEWAY
    (seen,) = captured(pod.namespace, attack, honest, place)
    assert target not in {addresses_of(frame)[1] for frame in seen}
