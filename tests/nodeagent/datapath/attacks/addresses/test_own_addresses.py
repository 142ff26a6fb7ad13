"""Root in an ipvlan pod with CAP_NET_ADMIN gives itself what its ENI itself has.

It would get what the ENI is sent: the answers of gateways to ARP and neighbour discovery, without
which the node forwards nothing for its other pods.
"""

from collections.abc import Generator
from functools import partial
from socket import if_nametoindex
from typing import Final

import pytest

from openeni_crds import names
from openeni_nodeagent.addresses import link_local
from openeni_nodeagent.datapath.linux.attributes import HEADER
from openeni_nodeagent.datapath.linux.dumps import answers
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.linux.pyroute2_classes import AddressMessage
from openeni_nodeagent.datapath.linux.rtnetlink_encode import IFADDRMSG
from openeni_nodeagent.datapath.linux.uapi import RTM_GETADDR
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import OUTSIDE, OUTSIDE_6, NeutronNetwork
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
PODS: Final = (("10.98.0.11", "fd98::11"), ("10.98.0.12", "fd98::12"))


@pytest.fixture(params=MODES[1:])
def node(request: pytest.FixtureRequest) -> Generator[Node]:
    network = NeutronNetwork()
    made = Node("node", network, "10.99.0.11", "fd99::11")
    eni = eni_facts("eni", 10, request.param, dual=True)
    port = made.attach("ens7", eni, (*PODS[0], *PODS[1]))
    if request.param.ipvlan_mode == "L3":
        network.answer_arp(port)
    for name, addresses in zip(("bad", "good"), PODS, strict=True):
        made.add(name, eni, *addresses)
    yield made
    made.close()
    network.close()


def own(pod: Pod) -> frozenset[str]:
    """Return the addresses of the pod's ENI."""
    return frozenset((*pod.facts.eni.primary, link_local(pod.facts.eni.mac)))


def take(pod: Pod) -> None:
    commands = (f"addr replace {address} dev eth0 nodad" for address in own(pod))
    batch = "\n".join(commands)
    pod.namespace.program("sh", "-c", f"echo '{batch}' | ip -force -batch - || true")


def has_own(pod: Pod) -> bool:
    shown = pod.namespace.program("ip", "-o", "addr")
    return any(f" {address}/" in shown for address in own(pod))


def reserving(node: Node) -> str:
    return names.reserving_slave(node.namespace.run(if_nametoindex, "ens7"))


def reaches_outside(node: Node, pod: Pod) -> bool:
    """Return True if a pod reaches what is beyond its subnet in both families.

    The node knows none of its neighbours, so it has to ask.
    """
    node.namespace.ip("neigh flush dev ens7")  # of both families
    return all(pod.namespace.ping(address) for address in (OUTSIDE, OUTSIDE_6))


def test_the_enis_own_addresses_are_not_to_be_had(node: Node) -> None:
    bad, good = node.pods
    assert reaches_outside(node, good)
    take(bad)
    assert not has_own(bad)
    assert reaches_outside(node, good)
    report = node.look(into=True)
    assert (report.errors, report.broken, report.repairs) == ({}, frozenset(), ())


def test_a_pod_that_has_them_already_loses_them(node: Node) -> None:
    """As after an upgrade from a version that reserved none, or once somebody has deleted it."""
    bad, good = node.pods
    node.namespace.ip(f"link del {reserving(node)}")
    take(bad)
    assert has_own(bad)
    report = node.look()
    assert (report.errors, report.broken) == ({}, frozenset({bad.facts}))
    assert "address" in {repair.kind for repair in report.repairs}
    node.run(partial(node.datapath.add, rebuilds=True), bad.facts, bad.namespace.path)
    node.run(node.datapath.finish_add, bad.facts)
    take(bad)
    assert not has_own(bad)
    assert reaches_outside(node, good)
    report = node.look(into=True)
    assert (report.errors, report.broken, report.differing) == ({}, frozenset(), {})


def test_the_slave_that_keeps_them_is_down_again(node: Node) -> None:
    """Up, it gets what the ENI is sent. As it goes down, it loses its IPv6 addresses once more."""
    _, good = node.pods
    node.namespace.ip(f"link set {reserving(node)} up")
    assert "DOWN" not in shown(node.namespace, reserving(node))
    for found in ("link", "address"):
        assert found in {repair.kind for repair in node.look().repairs}
    report = node.look()
    assert (report.errors, report.repairs) == ({}, ())
    assert "DOWN" in shown(node.namespace, reserving(node))
    assert reaches_outside(node, good)


@pytest.mark.parametrize("mode", ["l2", "l3", "l3s"])
def test_no_mode_that_a_pod_gives_its_eni_frees_them(node: Node, mode: str) -> None:
    """A pod with its node's users may: its slave has the mode of all (0062)."""
    bad, good = node.pods
    kept = on_host_slaves(node.namespace)
    bad.namespace.program(*f"ip link set eth0 type ipvlan mode {mode}".split())
    report = node.look()
    assert (report.errors, report.broken) == ({}, frozenset())
    assert on_host_slaves(node.namespace) == kept
    report = node.look(into=True)
    assert (report.errors, report.broken, report.differing) == ({}, frozenset(), {})
    assert node.look(into=True).repairs == ()
    assert reaches_outside(node, good)


def on_host_slaves(namespace: Namespace) -> list[bytes]:
    """Return what the kernel says of each address there: since when it has it, too."""

    def read() -> list[bytes]:
        nic = if_nametoindex("ens7")
        slaves = {if_nametoindex(name(nic)) for name in (names.host_slave, names.reserving_slave)}
        with Netlink() as netlink:
            found = [raw[HEADER.size :] for raw in answers(netlink, RTM_GETADDR, AddressMessage())]
        return sorted(a for a in found if IFADDRMSG.unpack_from(a)[-1] in slaves)

    return namespace.run(read)


def shown(namespace: Namespace, link: str) -> str:
    return namespace.program("ip", "-br", "link", "show", link)
