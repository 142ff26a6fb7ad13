"""What the agent changes because the node, or its cluster, is another one is no repair."""

from contextlib import nullcontext
from dataclasses import replace

import msgspec
import pytest

from openeni_crds import names
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath.links import NodeENI
from openeni_nodeagent.datapath.marks import Mark
from openeni_nodeagent.datapath_api import LinkFacts
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import PLANNED_NODE, Node, Pod, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = pytest.mark.root


@pytest.fixture
def node(node: Node, network: NeutronNetwork, request: pytest.FixtureRequest) -> Node:
    """A node with two pods, and nothing to repair."""
    eni = eni_facts("eni", 10, request.param, dual=True)
    pods = [(f"10.98.0.{n}", f"fd98::{n}") for n in (11, 12)]
    node.attach("ens7", eni, tuple(address for pod in pods for address in pod))
    for number, addresses in enumerate(pods):
        node.add(f"pod-{number}", eni, *addresses)
    node.look(into=True)
    assert node.look(into=True).repairs == ()
    return node


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_routes_that_follow_the_clusters_services_are_no_repairs(node: Node) -> None:
    cidrs = (*node.facts.service_cidrs, "10.97.0.0/16", "fd97::/112")
    more = replace(node.facts, service_cidrs=cidrs)
    report = node.look(into=True, facts=more)
    assert (report.repairs, report.differing) == ((), {})
    report = node.look(into=True, facts=replace(more, local_dns=("169.254.20.11",)))
    assert (report.repairs, report.differing) == ((), {})


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_a_node_that_loses_its_address_and_gets_it_again_has_nothing_to_repair(node: Node) -> None:
    """Pods are looked into at the next look: what is routed there depends on the address, too."""
    for commands in (
        ("addr del 10.99.0.11/24 dev eth0",),
        ("addr add 10.99.0.11/24 dev eth0", "route add default via 10.99.0.1"),
    ):
        node.namespace.ip(*commands)
        assert node.look().repairs == ()
        assert node.look(into=True).repairs == ()


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_what_others_change_meanwhile_is(node: Node) -> None:
    node.namespace.ip(f"rule del pref {names.RULE_TO_POD}", "addr del 10.99.0.11/24 dev eth0")
    found = {repair.kind for repair in node.look().repairs}
    assert found == {"rule"}


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_what_an_agent_finds_of_pods_when_it_starts_is_no_repair(node: Node) -> None:
    """The one before it may have planned otherwise: of another version, or for another address."""
    node.datapath.close()
    node.datapath = KernelDatapath()
    before = routes(node)
    damage(node)
    assert routes(node) != before
    for into in (False, True):
        report = node.look(into=into)
        assert (report.repairs, report.differing) == ((), {})
    assert routes(node) == before
    damage(node)
    assert [repair.kind for repair in node.look(into=True).repairs] == ["route", "route"]


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_what_an_agent_finds_once_it_has_heard_of_its_enis_is_no_repair(node: Node) -> None:
    node.datapath.close()
    node.datapath = KernelDatapath()
    node.namespace.nft(f"add chain inet {names.NFT_TABLE} of_an_older_version")
    enis, pods, node.enis, node.pods = node.enis, node.pods, [], []
    assert node.look(complete=False).repairs == ()
    node.enis, node.pods = enis, pods
    assert node.look(into=True).repairs == ()
    assert "of_an_older_version" not in node.namespace.nft("list ruleset")
    node.namespace.nft(f"add chain inet {names.NFT_TABLE} of_others")
    assert [repair.kind for repair in node.look(into=True).repairs] == ["chain"]


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_what_no_pod_has_when_an_agent_starts_is_no_repair(node: Node) -> None:
    """An agent before it was killed in an ADD."""
    node.datapath.close()
    node.datapath = KernelDatapath()
    gone = node.pods.pop()
    assert node.look(strays=gone.facts.addresses).repairs == ()
    gone.namespace.close()


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_an_eni_that_is_another_one_for_a_while_has_nothing_to_repair(node: Node) -> None:
    (eni,), pods = node.enis, node.pods
    v4, v6 = eni.subnets
    wider = (msgspec.structs.replace(v4, cidr="10.98.0.0/23"), v6)
    for facts in (replace(eni, mtu=1400, subnets=wider), eni):
        node.enis = [facts]
        node.pods = [replace(pod, facts=replace(pod.facts, eni=facts)) for pod in pods]
        for _ in range(2):
            report = node.look(into=True)
            assert (report.repairs, report.differing) == ((), {})


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_what_a_look_planned_that_did_not_look_into_pods_is_no_repair(node: Node) -> None:
    """They were busy."""
    node.namespace.ip("addr del 10.99.0.11/24 dev eth0")
    assert node.look(into=True, hold=lambda _: nullcontext(frozenset())).repairs == ()
    assert node.look(into=True).repairs == ()
    facts = replace(node.facts, local_dns=("169.254.20.11",))
    assert node.look(facts=facts).repairs == ()
    report = node.look(into=True, facts=facts)
    assert (report.repairs, report.differing) == ((), {})
    damage(node)
    found = [repair.kind for repair in node.look(into=True, facts=facts).repairs]
    assert found == ["route", "route"]


def damage(node: Node) -> None:
    """Delete the routes of one pod: the node's to it, and its default one."""
    pod = node.pods[0]
    node.namespace.ip(f"route del {pod.address} table {pods_table(pod)}")
    pod.namespace.ip("route del default")


def routes(node: Node) -> tuple[str, str]:
    pod = node.pods[0]
    of_node = node.namespace.program("ip", "route", "show", "table", str(pods_table(pod)))
    return of_node, pod.namespace.program("ip", "route")


def pods_table(pod: Pod) -> int:
    return NodeENI(pod.facts.eni, LinkFacts("", 0), PLANNED_NODE, Mark(0, 0)).pods_table
