"""ENIs that cannot be served, whose filters were flushed: no ways in, and their pods go on."""

import pytest

from openeni_crds.enipool import Datapath, IPVlanMode
from openeni_testing.network.attacks import datagram, received, sending
from openeni_testing.network.neutron import METADATA, NeutronNetwork, Port, vm
from openeni_testing.network.node import Node
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.unserved import add_pod, attach, put_in_error

pytestmark = pytest.mark.root
NODE = "10.99.0.11"
REMOTE = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::c8"))
SERVED = 80  # by each pod


@pytest.mark.parametrize("datapath", MODES)
def test_an_eni_in_error_whose_filters_were_flushed_is_no_way_into_the_node_or_out(
    network: NeutronNetwork, node: Node, datapath: Datapath
) -> None:
    eni, _ = attach(node, 10, datapath, dual=True)
    pod = add_pod(node, eni, 10, dual=True)
    put_in_error(node)
    node.namespace.nft("flush ruleset")
    for _ in range(2):
        assert node.look().errors.keys() == {eni.name}
    with vm(network, "remote", REMOTE) as remote:
        frame = datagram(REMOTE.addresses[0], NODE, (REMOTE.mac, eni.mac))
        attack = sending(remote, "eth0", frame)
        assert received(remote, attack, NODE, node.namespace) == []
    assert pod.ask(METADATA, 80) is None


@pytest.mark.parametrize("datapath", [mode for mode in MODES if mode.id != "veth"])
def test_its_pods_serve_as_before(network: NeutronNetwork, node: Node, datapath: Datapath) -> None:
    eni, port = attach(node, 10, datapath, dual=True)
    if datapath.ipvlan_mode is IPVlanMode.L3:  # does not work without
        network.answer_arp(port)
    add_pod(node, eni, 10, dual=True)
    put_in_error(node)
    with vm(network, "remote", REMOTE) as remote:
        assert remote.ask("10.98.0.11", SERVED) is not None
        node.namespace.nft("flush ruleset")
        for _ in range(2):
            assert node.look().errors.keys() == {eni.name}
        assert remote.ask("10.98.0.11", SERVED) is not None
