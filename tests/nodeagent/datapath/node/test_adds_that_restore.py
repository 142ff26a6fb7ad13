"""ADDs that meet a node which others have changed, before the next look: what becomes of others.

And a look at a node without rules, whose pods send meanwhile; and pods that a look has built again.
"""

from contextlib import suppress
from functools import partial
from typing import Never

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.linux import dumps
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.pod_options import Bandwidth, PortMapping, RateLimit, Transport
from openeni_testing.network import neutron
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import ADDRESSES, SECOND, ReachedPod
from openeni_testing.network.unserved import (
    ALL_MARKS,
    add_pod,
    add_with_host_port,
    add_with_repair,
    attach,
    flush_rules,
    marks_in,
    put_in_error,
)
from openeni_testing.waiting import repeating

pytestmark = pytest.mark.root
L3S = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3S))


@pytest.mark.parametrize("state", ["served", "missing", "in error"])
def test_after_a_flush_of_rules_no_pod_of_another_eni_leaves_by_the_nodes_nic(
    network: NeutronNetwork, node: Node, state: str
) -> None:
    """The rules that all share let their packets pass `guard`, which theirs would lead nowhere."""
    dual = state == "in error"
    first, _ = attach(node, 10)
    second, port = attach(node, 20, dual=dual)
    pod = add_pod(node, second, 20, dual=dual)
    if state == "missing":
        network.unplug(port)
    elif state == "in error":
        put_in_error(node)
    node.look()
    flush_rules(node)
    add_with_repair(node, first, 10)
    pod.send(neutron.OUTSIDE)
    assert network.dropped() == {}
    if state == "served":
        assert pod.ask(neutron.OUTSIDE, 80) == ("outside", "10.98.0.21")


def test_nor_while_a_look_finds_no_rule_and_its_nic_is_missing(
    network: NeutronNetwork, node: Node
) -> None:
    attach(node, 10)
    eni, port = attach(node, 20)
    pod = add_pod(node, eni, 20)
    network.unplug(port)
    node.look()
    flush_rules(node)

    def send() -> None:
        with suppress(OSError):
            pod.send(neutron.OUTSIDE)

    with repeating(send):
        node.look()
        node.look()
    assert network.dropped() == {}


@pytest.mark.parametrize("others", [1, ALL_MARKS - 1])
def test_an_eni_that_was_plugged_again_keeps_the_mark_that_an_add_has_found(
    network: NeutronNetwork, node: Node, others: int
) -> None:
    second = "10.98.0.12"
    eni, port = attach(node, 10, more=(second,))
    for number in range(100, 100 + others):
        attach(node, number)
    add_pod(node, eni, 10)
    before = [mark for _, mark in marks_in(node)]
    network.unplug(port)
    network.plug(node.namespace, "ens10", port)
    node.add("next", eni, second)
    report = node.look()
    assert report.errors == {}
    assert sorted(mark for _, mark in marks_in(node)) == sorted(before)
    assert not [r for r in report.repairs if r.kind in {"rule", "chain"}]


@pytest.mark.parametrize(
    "bench", [m for m in MODES if m.id in {"veth", f"ipvlan-{IPVlanMode.L2}"}], indirect=True
)
@pytest.mark.parametrize("comes_back", ["before the ADD", "after it"])
def test_a_look_after_an_add_says_that_the_node_has_other_addresses(
    bench: ReachedPod, comes_back: str
) -> None:
    """The ADD plans its pod with those of its own time, and the last look planned the others."""
    node, eni = bench.node, bench.eni
    planned = bench.pod.namespace.program("ip", "route")

    def has_address(verb: str) -> None:
        node.namespace.ip(f"addr {verb} 10.99.0.11/24 dev eth0")

    def add_and_restore() -> Pod:
        return add_with_host_port(node, eni, "second", *SECOND[: bench.families])

    node.look()
    has_address("del")
    if comes_back == "before the ADD":
        node.look(into=True)
        has_address("add")
        pod = add_and_restore()
    else:
        pod = add_and_restore()
        has_address("add")
    assert node.look().readdressed
    node.look(into=True)
    assert bench.pod.namespace.program("ip", "route") == planned
    assert pod.namespace.program("ip", "route") == planned.replace(ADDRESSES[0], SECOND[0])
    assert not node.look().readdressed


@pytest.mark.parametrize("datapath", MODES)
def test_pods_whose_links_are_gone_are_built_again_without_a_look_for_each(
    network: NeutronNetwork, node: Node, datapath: Datapath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host still has the rest of them, which the kernel refuses to create again."""
    eni = eni_facts("eni", 10, datapath)
    port = node.attach("ens7", eni, ("10.98.0.11", "10.98.0.12"))
    node.add("plain", eni, "10.98.0.11")
    ports = (PortMapping(8080, 80, Transport.TCP), PortMapping(8053, 53, Transport.UDP))
    limit = RateLimit(10**9, 10**7)
    limits = Bandwidth(limit, limit)
    node.add("with options", eni, "10.98.0.12", host_ports=ports, bandwidth=limits)
    if datapath.mode is Mode.VETH:
        for pod in node.pods:
            pod.namespace.ip("link del eth0")
    else:
        network.unplug(port)
        network.plug(node.namespace, "ens7", port)
        node.look()
    assert node.look(into=True).broken == {pod.facts for pod in node.pods}

    def links(_: Netlink) -> Never:
        pytest.fail("the whole node is looked at")

    with monkeypatch.context() as patch:
        patch.setattr(dumps, "links", links)
        for pod in node.pods:
            node.run(partial(node.datapath.add, rebuilds=True), pod.facts, pod.namespace.path)
    for pod in node.pods:
        assert node.run(node.datapath.check, pod.facts, pod.namespace.path) == ()
    report = node.look(into=True)
    assert (report.repairs, report.broken, report.differing) == ((), frozenset(), {})


@pytest.mark.ipvlan
def test_pods_of_another_eni_in_l3s_reach_what_they_did(node: Node) -> None:
    """After `nft flush ruleset`: their chain drops what has no member in sets."""
    first, _ = attach(node, 10)
    second, _ = attach(node, 20, L3S)
    pod = add_pod(node, second, 20)
    node.namespace.nft("flush ruleset")
    node.add("next", first, "10.98.0.11")
    assert pod.ask(neutron.OUTSIDE, 80)
    node.look()
    assert pod.ask(neutron.OUTSIDE, 80)


@pytest.mark.ipvlan
def test_pods_of_an_eni_in_l3s_that_is_in_error_keep_their_way(
    network: NeutronNetwork, node: Node
) -> None:
    eni, _ = attach(node, 10, L3S, dual=True)
    pod = add_pod(node, eni, 10, dual=True)
    put_in_error(node)
    node.look()
    flush_rules(node)
    node.namespace.nft("flush ruleset")
    for _ in range(3):
        node.look()
    assert pod.ask(neutron.OUTSIDE, 80) == ("outside", "10.98.0.11")
    pod.send(neutron.OUTSIDE_6)
    assert network.dropped() == {}
