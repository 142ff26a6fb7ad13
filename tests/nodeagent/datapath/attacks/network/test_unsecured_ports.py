"""A machine of the pods' network whose port has no port security sends as whomever it names."""

from collections.abc import Generator

import pytest

from openeni_testing.network.attacks import datagram, received, sending
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE, Topology

pytestmark = pytest.mark.root
NODE = {4: "10.99.0.11", 6: "fd99::11"}
LINK_LOCAL = "fe80::f816:3eff:fe98:a"  # of the ENI
ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 - a socket of a test
L2 = [mode for mode in MODES if mode.id == "ipvlan-L2"]


@pytest.fixture(scope="module")
def topology(request: pytest.FixtureRequest) -> Generator[Topology]:
    made = Topology(request.param, dual=True)
    made.take_port_security_from_remote()
    yield made
    made.close()


@pytest.mark.parametrize("topology", L2, indirect=True, scope="module")
def test_with_an_l2_enis_mac_nobody_reaches_the_node(topology: Topology) -> None:
    """Only a pod's frames have that, and are for the node alone."""
    mac, node = topology.pods["a1"].facts.eni.mac, topology.node.namespace
    for place, family in enumerate(topology.families):
        forged = datagram(topology.of("a1", family), NODE[family], (mac, "ff:ff:ff:ff:ff:ff"))
        attack = sending(topology.remote, "eth0", forged)
        primary = topology.pods["a1"].facts.eni.primary[place]
        assert received(topology.remote, attack, primary, node, bound=ANY[family]) == []


@pytest.mark.parametrize("topology", MODES, indirect=True, scope="module")
def test_the_node_hears_nobody_as_itself(topology: Topology) -> None:
    """Such a datagram to a service that answers each would be answered for ever."""
    eni, node = topology.pods["a1"].facts.eni, topology.node.namespace
    others = topology.pods["b1"].facts.eni.primary
    for place, named in enumerate(((NODE[4],), (NODE[6], LINK_LOCAL))):
        primary = eni.primary[place]
        sources = (*named, primary, others[place])
        frames = [datagram(one, primary, (REMOTE.mac, eni.mac)) for one in sources]
        attack = sending(topology.remote, "eth0", *frames)
        assert received(topology.remote, attack, primary, node) == []
