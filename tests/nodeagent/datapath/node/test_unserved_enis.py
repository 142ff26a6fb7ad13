"""ENIs that cannot be served now, and what others change meanwhile.

Their pods reach nothing, or what they did; never anything by the node's own NIC, or by another ENI.
"""

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork, Port, vm
from openeni_testing.network.node import Node
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import ReachedPod
from openeni_testing.network.unserved import (
    ALL_MARKS,
    add_pod,
    addresses,
    attach,
    flush_rules,
    masquerade,
    put_in_error,
)

pytestmark = pytest.mark.root
WIDER, OTHER = 0x003F0000, 0xFC000000  # masks: one bit more, and none in common
TOO_LARGE = 70_000
REMOTE = Port("remote", "fa:16:3e:98:00:c8", ("10.98.0.200", "fd98::c8"))


def look(node: Node) -> None:
    for _ in range(3):
        node.look()


def a_pod_without_its_nic(network: NeutronNetwork, node: Node) -> Namespace:
    """Return a pod whose NIC is gone, on a node with another one."""
    eni, port = attach(node, 10)
    pod = add_pod(node, eni, 10)
    attach(node, 20)
    network.unplug(port)
    node.look()
    return pod


@pytest.mark.parametrize("order", [1, -1])
def test_pods_of_a_missing_nic_use_no_other_eni_after_the_mask_got_another_bit(
    network: NeutronNetwork, node: Node, order: int
) -> None:
    pod = a_pod_without_its_nic(network, node)
    node.datapath = KernelDatapath(WIDER)
    node.enis = node.enis[::order]
    look(node)
    pod.send(neutron.OUTSIDE)
    assert pod.ask(neutron.OUTSIDE, 80) is None
    assert network.dropped() == {}


def test_nor_after_an_agent_has_started_anew_that_finds_no_rule_with_its_mark(
    network: NeutronNetwork, node: Node
) -> None:
    pod = a_pod_without_its_nic(network, node)
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


@pytest.mark.parametrize("what", ["all rules", "the marks"])
def test_an_agent_that_starts_anew_and_finds_no_mark_serves_no_pod_of_an_eni_in_error_wrongly(
    network: NeutronNetwork, node: Node, what: str
) -> None:
    """The ENI's chain still sets the mark, which another ENI gets, or which no rule has."""
    eni, _ = attach(node, 10, dual=True)
    attach(node, 20)
    pod = add_pod(node, eni, 10, dual=True)
    masquerade(node)
    put_in_error(node)
    node.look()
    if what == "all rules":
        flush_rules(node)
    else:
        for family in ("-4", "-6"):
            for priority in (names.RULE_TO_SUBNET, names.RULE_FROM_VETH_POD):
                node.namespace.program("ip", family, "rule", "del", "pref", str(priority))
    node.datapath = KernelDatapath()
    look(node)
    assert pod.ask(neutron.OUTSIDE, 80) in {None, ("outside", "10.98.0.11")}
    assert network.dropped() == {}


def test_an_eni_in_error_that_was_replugged_keeps_no_pod_of_another_from_its_subnet(
    network: NeutronNetwork, node: Node
) -> None:
    _, port = attach(node, 20, dual=True)
    eni, _ = attach(node, 10)
    pod = add_pod(node, eni, 10)
    put_in_error(node)
    node.look()
    node.namespace.ip("route del default")
    network.unplug(port)
    network.plug(node.namespace, "ens20", port)
    look(node)
    assert pod.ask(neutron.OUTSIDE, 80)


def test_an_eni_in_error_that_is_unplugged_was_changed_by_nobody(
    network: NeutronNetwork, node: Node
) -> None:
    attach(node, 20)
    _, port = attach(node, 10, dual=True)
    put_in_error(node)
    node.look()
    network.unplug(port)
    assert node.look().repairs == ()


@pytest.fixture
def refused(request: pytest.FixtureRequest) -> Iterator[ReachedPod]:
    """Yield a pod whose ENI has an MTU that its NIC refuses.

    A virtio NIC takes none beyond the one that its network had when it was plugged.
    """
    made = ReachedPod(request.param)
    made.node.enis = [replace(made.eni, mtu=TOO_LARGE)]
    report = made.node.look()
    assert "mtu greater than device maximum" in str(report.errors[made.eni.name])
    made.assert_connected()
    yield made
    made.close()


@pytest.mark.parametrize("refused", MODES, indirect=True)
def test_what_a_nic_refuses_keeps_no_filter_from_its_pods(refused: ReachedPod) -> None:
    refused.node.namespace.nft("flush ruleset")
    refused.node.look()
    refused.assert_connected()


@pytest.mark.parametrize("refused", [Datapath(Mode.VETH)], indirect=True)
def test_what_a_nic_refuses_keeps_it_not_from_coming_up(refused: ReachedPod) -> None:
    """Pods of ipvlan are to be built anew, which says why it cannot be."""
    refused.network.unplug(refused.port)
    refused.node.look()
    refused.port = refused.plug("ens8")
    refused.node.look()
    refused.assert_connected()


@pytest.mark.parametrize("datapath", MODES)
def test_a_nic_that_goes_and_comes_is_no_repair_but_what_others_change_meanwhile_is(
    network: NeutronNetwork, node: Node, datapath: Datapath
) -> None:
    """Also where the node has no other NIC."""
    eni, port = attach(node, 10, datapath, dual=True)
    add_pod(node, eni, 10, dual=True)
    assert node.look(into=True).repairs == ()
    network.unplug(port)
    for _ in range(2):
        assert node.look(into=True).repairs == ()
    flush_rules(node)
    assert {repair.kind for repair in node.look(into=True).repairs} == {"rule"}
    network.plug(node.namespace, "ens10", port, "br-pods")
    for _ in range(2):
        assert node.look(into=True).repairs == ()
