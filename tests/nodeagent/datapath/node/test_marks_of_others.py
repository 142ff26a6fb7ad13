"""Another program marks what pods send: what stays on the node arrives."""

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_testing.network.topology import Topology

PORT = 5400
NODE = "10.99.0.11"
# As wg-quick has it for AllowedIPs 0.0.0.0/0: datagrams get the mark of their connection, often 0.
# Of chains at one priority, the one that was loaded last runs first.
WG_QUICK = """table inet wg {
  chain premangle {
    type filter hook prerouting priority mangle;
    meta l4proto udp meta mark set ct mark
  }
}"""


@pytest.mark.root
def test_datagrams_reach_the_node_and_its_other_pods() -> None:
    topology = Topology(Datapath(Mode.VETH))
    try:
        node, pod = topology.node.namespace, topology.pods["a1"].namespace
        neighbours = [(node, NODE), (topology.pods["a2"].namespace, topology.of("a2", 4))]
        node.nft(WG_QUICK)
        for namespace, address in neighbours:
            namespace.answer(PORT)
            assert pod.ask_by_datagram(address, PORT) is not None
    finally:
        topology.close()
