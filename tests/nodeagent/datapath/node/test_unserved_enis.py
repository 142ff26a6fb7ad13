"""ENIs that cannot be served now, and what others change meanwhile.

Their pods reach nothing, or what they did; never anything by the node's own NIC, or by another ENI.
"""

import socket
import subprocess
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath_api import ENIFacts
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network import neutron
from openeni_testing.network.attacks import ROUTER, router_advertisement, send_frames
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port, vm
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
VETH = Datapath(Mode.VETH)
WIDER, OTHER = 0x003F0000, 0xFC000000  # masks: one bit more, and none in common
REMOTE = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::c8"))
ALL_MARKS = 30


def attach(node: Node, number: int, *, dual: bool = False) -> tuple[ENIFacts, Port]:
    eni = eni_facts(f"eni-{number}", number, VETH, dual=dual)
    return eni, node.attach(f"ens{number}", eni, addresses(number, dual=dual))


def addresses(number: int, *, dual: bool = False) -> tuple[str, ...]:
    return (f"10.98.0.{number + 1}", *([f"fd98::{number + 1}"] if dual else []))


def add_pod(node: Node, eni: ENIFacts, number: int, *, dual: bool = False) -> Namespace:
    return node.add(f"pod{number}", eni, *addresses(number, dual=dual)).namespace


def flush_rules(node: Node) -> None:
    for family in ("-4", "-6"):
        node.namespace.program("ip", family, "rule", "flush")
        node.namespace.program("ip", family, "rule", "add", "pref", "32766", "lookup", "main")


def masquerade(node: Node) -> None:
    """Let what leaves by the node's own NIC arrive, which the network would drop as spoofed."""
    hook = "type nat hook postrouting priority 100; oifname eth0 masquerade;"
    node.namespace.nft(f"table inet theirs {{ chain c {{ {hook} }}; }}")


def put_in_error(node: Node) -> None:
    """Have an ENI with IPv6 refused: a default route is advertised, and somebody has set these."""
    node.namespace.ip("route del default via fd99::1")
    node.namespace.sysctl("net/ipv6/conf/all/forwarding", "0")
    node.namespace.sysctl("net/ipv6/conf/eth0/accept_ra", "1")
    nic = Port("node11", "fa:16:3e:99:00:0b")
    sent = router_advertisement(("fa:16:3e:00:00:02", "33:33:00:00:00:01"))

    def advertise() -> str:
        node.network.fabric.run(send_frames, nic.device, [sent])
        return node.namespace.program("ip", "-6", "route", "show", "default", "via", ROUTER)

    wait_for(advertise, "the advertised default route")


def look(node: Node) -> None:
    for _ in range(3):
        node.look()


@pytest.mark.parametrize("order", [1, -1])
def test_pods_of_a_missing_nic_use_no_other_eni_after_the_mask_got_another_bit(
    network: NeutronNetwork, node: Node, order: int
) -> None:
    eni, port = attach(node, 10)
    pod = add_pod(node, eni, 10)
    attach(node, 20)
    network.unplug(port)
    node.look()
    node.datapath = KernelDatapath(WIDER)
    node.enis = node.enis[::order]
    look(node)
    pod.send(neutron.OUTSIDE)
    assert pod.ask(neutron.OUTSIDE, 80) is None
    assert network.dropped() == {}


def test_nor_after_an_agent_has_started_anew_that_finds_no_rule_with_its_mark(
    network: NeutronNetwork, node: Node
) -> None:
    eni, port = attach(node, 10)
    pod = add_pod(node, eni, 10)
    attach(node, 20)
    network.unplug(port)
    node.look()
    for priority in (names.RULE_TO_SUBNET, names.RULE_FROM_VETH_POD):
        for _ in range(2):
            node.namespace.ip(f"rule del pref {priority}")
    node.datapath = KernelDatapath()
    node.enis.reverse()
    look(node)
    pod.send(neutron.OUTSIDE)
    assert network.dropped() == {}


def test_rules_from_before_an_eni_was_replaced_are_restored_while_its_nic_is_missing(
    network: NeutronNetwork, node: Node, tmp_path: Path
) -> None:
    """A saved rule has the mark of the ENI that came afterwards; that one gets another."""
    masquerade(node)
    first, port = attach(node, 10)
    saved = tmp_path / "rules"
    node.namespace.program("sh", "-c", f"ip rule save > {saved}")
    node.release(first)
    network.unplug(port)
    node.look()
    eni, port = attach(node, 20)
    pod = add_pod(node, eni, 20)
    assert pod.ask(neutron.OUTSIDE, 80) == ("outside", "10.98.0.21")
    network.unplug(port)
    node.look()
    restore = ["sh", "-c", f"ip rule restore < {saved}"]  # fails: some are there
    node.namespace.run(subprocess.run, restore, check=False, capture_output=True)
    look(node)
    assert [pod.ask(to, 80) for to in (neutron.OUTSIDE, neutron.METADATA)] == [None, None]
    assert network.dropped() == {}


def test_with_all_marks_in_use_an_eni_that_is_plugged_again_keeps_its_own(
    network: NeutronNetwork, node: Node
) -> None:
    ports = [attach(node, number)[1] for number in range(10, 10 + ALL_MARKS)]
    again = ports[10]
    network.unplug(again)
    assert node.look().errors.keys() == {again.name}
    network.plug(node.namespace, "ens20", again)
    assert node.look().errors == {}


@pytest.mark.parametrize("missing", [10, 20])
def test_a_missing_eni_keeps_no_pod_of_another_from_its_subnet_without_a_default_route(
    network: NeutronNetwork, node: Node, missing: int
) -> None:
    """Its way back would come before that of the other, and lead to nothing."""
    remote = vm(network, "remote", REMOTE)
    node.namespace.ip("route del default")
    attached = {number: attach(node, number) for number in (10, 20)}
    there = 30 - missing
    pod = add_pod(node, attached[there][0], there)
    network.unplug(attached[missing][1])
    node.look()
    assert pod.ask(REMOTE.addresses[0], 80)
    assert remote.ask(addresses(there)[0], 80)
    assert pod.ask(neutron.OUTSIDE, 80)
    remote.close()


@pytest.mark.parametrize("damage", ["rules", "table"])
def test_pods_of_an_eni_in_error_do_not_leave_by_the_nodes_nic(
    network: NeutronNetwork, node: Node, damage: str
) -> None:
    eni, _ = attach(node, 10, dual=True)
    pod = add_pod(node, eni, 10, dual=True)
    masquerade(node)
    put_in_error(node)
    assert node.look().errors.keys() == {eni.name}
    assert pod.ask(neutron.OUTSIDE, 80) == ("outside", "10.98.0.11")
    if damage == "rules":
        flush_rules(node)
    else:
        index = node.namespace.run(socket.if_nametoindex, "ens10")
        node.namespace.ip(f"route flush table {names.eni_table(index)}")
    look(node)
    assert pod.ask(neutron.OUTSIDE, 80) in {None, ("outside", "10.98.0.11")}
    assert network.dropped() == {}


@pytest.mark.parametrize("order", [1, -1])
def test_an_eni_in_error_takes_no_packets_of_another_after_the_mask_got_another_bit(
    network: NeutronNetwork, node: Node, order: int
) -> None:
    attach(node, 10, dual=True)
    eni, _ = attach(node, 20)
    pod = add_pod(node, eni, 20)
    put_in_error(node)
    node.datapath = KernelDatapath(WIDER)
    node.enis = node.enis[::order]
    look(node)
    assert pod.ask(neutron.OUTSIDE, 80) == ("outside", "10.98.0.21")
    assert network.dropped() == {}


def test_an_eni_in_error_serves_its_pods_after_the_mask_was_changed(node: Node) -> None:
    eni, _ = attach(node, 10, dual=True)
    pod = add_pod(node, eni, 10, dual=True)
    put_in_error(node)
    node.datapath = KernelDatapath(OTHER)
    assert node.look().errors.keys() == {eni.name}
    assert pod.ask(neutron.OUTSIDE, 80) == ("outside", "10.98.0.11")


@pytest.mark.parametrize("routes", [f"table {names.TABLE_PODS}", "proto 94 table all"])
def test_pods_of_the_only_nic_which_is_gone_do_not_leave_by_the_nodes(
    network: NeutronNetwork, node: Node, routes: str
) -> None:
    """Not even after routes, rules and filters were all flushed."""
    eni, port = attach(node, 10)
    pod = add_pod(node, eni, 10)
    network.unplug(port)
    node.look()
    node.namespace.ip(f"route flush {routes}")
    node.look()
    node.namespace.nft("flush ruleset")
    flush_rules(node)
    look(node)
    pod.send(neutron.OUTSIDE)
    assert network.dropped() == {}


def test_an_add_after_a_flush_of_rules_restores_the_other_enis_too(
    network: NeutronNetwork, node: Node
) -> None:
    """The rules that all share let packets of their pods pass, which theirs would lead nowhere."""
    (first, _), (second, _) = (attach(node, number) for number in (10, 20))
    pod = add_pod(node, second, 20)
    flush_rules(node)
    chains = "; ".join(f"delete chain inet openeni host_ports_{d}" for d in ("in", "out"))
    node.namespace.nft(f"{chains}; delete map inet openeni hostports4")
    ports = (PortMapping(8080, 80, Transport.TCP, node.address),)  # so the ADD has to restore
    node.add("next", first, *addresses(10), host_ports=ports)
    assert pod.ask(neutron.OUTSIDE, 80) == ("outside", "10.98.0.21")
    assert network.dropped() == {}
