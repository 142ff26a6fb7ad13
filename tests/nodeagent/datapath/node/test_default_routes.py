"""The routes of the node itself: openeni does not need them, nor do they stand in its way."""

import socket
from dataclasses import replace

import msgspec
import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath_api import DatapathError
from openeni_testing.network import neutron
from openeni_testing.network.attacks import ROUTER, router_advertisement, send_frames
from openeni_testing.network.neutron import NeutronNetwork, Port, vm
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
VETH = Datapath(Mode.VETH)
REMOTE = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::c8"))


@pytest.mark.parametrize("strictness", ["0", "1", "2"])
def test_pods_are_reached_on_a_node_without_a_default_route(
    network: NeutronNetwork, node: Node, strictness: str
) -> None:
    """Whatever rp_filter the node has: it looks for the way back to the sender."""
    remote = vm(network, "remote", REMOTE)
    eni = eni_facts("eni", 10, VETH)
    node.namespace.ip("route del default")
    for link in ("all", "default"):
        node.namespace.sysctl(f"net/ipv4/conf/{link}/rp_filter", strictness)
    node.attach("ens7", eni, ("10.98.0.11",))
    pod = node.add("pod", eni, "10.98.0.11")
    for client, address in ((remote, "10.98.0.200"), (network.outside, neutron.OUTSIDE)):
        assert client.ask("10.98.0.11", 80) == ("pod", address)
        assert pod.namespace.ask(address, 80) == (client.name, "10.98.0.11")
    assert network.dropped() == {}
    remote.close()


@pytest.fixture
def living_on_advertisements(node: Node) -> Node:
    """The node, with a default route that a router has advertised."""
    node.namespace.ip("route del default via fd99::1")
    node.namespace.sysctl("net/ipv6/conf/eth0/accept_ra", "1")
    nic = Port("node11", "fa:16:3e:99:00:0b")
    sent = router_advertisement(("fa:16:3e:00:00:02", "33:33:00:00:00:01"))

    def advertise() -> str:  # more than once: IPv6 of a new link may not be ready
        node.network.fabric.run(send_frames, nic.device, [sent])
        return default_of(node)

    wait_for(advertise, "the advertised default route")
    return node


def default_of(node: Node) -> str:
    return node.namespace.program("ip", "-6", "route", "show", "default", "via", ROUTER)


def configure(node: Node, *, dual: bool) -> None:
    eni = eni_facts("eni", 10, VETH, dual=dual)
    node.configure(eni)


def test_a_node_that_lives_on_router_advertisements_keeps_its_default_route(
    network: NeutronNetwork, living_on_advertisements: Node
) -> None:
    node = living_on_advertisements
    forwarding = "net/ipv6/conf/all/forwarding"
    network.plug(node.namespace, "ens7", Port("eni", "fa:16:3e:98:00:0a", ("10.98.0.10",)))
    with pytest.raises(DatapathError, match=r"eth0.*set net\.ipv6\.conf\.eth0\.accept_ra=2"):
        configure(node, dual=True)
    assert (node.namespace.sysctl(forwarding), bool(default_of(node))) == ("0", True)
    configure(node, dual=False)
    assert (node.namespace.sysctl(forwarding), bool(default_of(node))) == ("0", True)
    node.namespace.sysctl("net/ipv6/conf/eth0/accept_ra", "2")
    configure(node, dual=True)
    assert (node.namespace.sysctl(forwarding), bool(default_of(node))) == ("1", True)


def test_without_that_its_default_route_would_be_gone(living_on_advertisements: Node) -> None:
    """The other test means something, whatever the kernel."""
    living_on_advertisements.namespace.sysctl("net/ipv6/conf/all/forwarding", "1")
    assert default_of(living_on_advertisements) == ""


@pytest.mark.parametrize("gateway", ["fd98::1", "fd77::1", "fe80::1"])
def test_an_ipv6_gateway_is_the_enis_wherever_the_main_table_has_it(
    node: Node, gateway: str
) -> None:
    """In the subnet, in another one, or link-local; the node's own NIC has these subnets, too."""
    node.namespace.ip("route add fd98::/64 dev eth0", "route add fd77::/64 dev eth0")
    dual = eni_facts("eni", 10, VETH, dual=True)
    v4, v6 = dual.subnets
    eni = replace(dual, subnets=(v4, msgspec.structs.replace(v6, gateway=gateway)))
    node.attach("ens7", eni, ())
    table = str(names.eni_table(node.namespace.run(socket.if_nametoindex, "ens7")))
    default = ("ip", "-6", "route", "show", "default", "via", gateway, "table", table)
    assert "ens7" in node.namespace.program(*default)
    node.namespace.program("ip", "-6", "route", "flush", "table", table)
    node.configure(eni)
    assert "ens7" in node.namespace.program(*default)
