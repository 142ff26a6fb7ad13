"""An ENI of which the kernel refuses something is no way to its node: it is guarded, or down."""

from collections.abc import Collection, Generator
from dataclasses import replace

import pytest

from openeni_crds.enipool import Datapath
from openeni_crds.status.eni import PortSubnet
from openeni_nodeagent.datapath_api import KernelRefusedError
from openeni_testing.network import neutron
from openeni_testing.network.attacks import DISCARD, datagram, received, sending
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, vm
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.topology import REMOTE

pytestmark = [pytest.mark.root, pytest.mark.parametrize("datapath", MODES)]
NO_GATEWAY = PortSubnet("v4", neutron.SUBNET, "224.0.0.1")  # the kernel refuses the default route


@pytest.fixture
def remote(network: NeutronNetwork) -> Generator[Namespace]:
    made = vm(network, "remote", REMOTE)
    yield made
    made.close()


def is_up(node: Node) -> bool:
    return ",UP" in node.namespace.program("ip", "-o", "link", "show", "ens10")


def test_without_a_route_its_chains_keep_the_network_from_the_node(
    node: Node, remote: Namespace, datapath: Datapath
) -> None:
    eni = replace(eni_facts("eni", 10, datapath), subnets=(NO_GATEWAY,))
    with pytest.raises(KernelRefusedError, match=r"via 224\.0\.0\.1"):
        node.attach("ens10", eni, ())
    assert is_up(node)
    frame = datagram(REMOTE.addresses[0], node.address, (REMOTE.mac, eni.mac), (4000, DISCARD))
    attack = sending(remote, "eth0", frame)
    assert received(remote, attack, node.address, node.namespace) == []


def test_without_its_chains_it_stays_down(
    node: Node, datapath: Datapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Collection[str]) -> None:
        raise KernelRefusedError("ENOMEM")

    eni = eni_facts("eni", 10, datapath)
    with monkeypatch.context() as patch:
        patch.setattr("openeni_nodeagent.datapath.linux.kernel._create_tables", refuse)
        with pytest.raises(KernelRefusedError, match="ENOMEM"):
            node.attach("ens10", eni, ())
        assert not is_up(node)
    assert node.look().errors == {}
    assert is_up(node)
