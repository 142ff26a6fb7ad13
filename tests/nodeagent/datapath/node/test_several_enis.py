"""Several ENIs that differ at once: restored together, and a refusal concerns one of them alone."""

import re
import socket
import subprocess
from collections.abc import Collection, Generator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath.linux.kernel import observe, observe_filters
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import Address, Element, State
from openeni_nodeagent.datapath.nft_sets import FLOW_CHAIN
from openeni_nodeagent.datapath_api import KernelRefusedError
from openeni_testing.network import neutron
from openeni_testing.network.neutron import NeutronNetwork, Port
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.network.one_eni import MODES

pytestmark = pytest.mark.root
NUMBERS = (10, 20, 30)
NEEDED = {"pods", "podlinks", "sources"}  # names of sets, without the family


def of_ipvlan(mode: IPVlanMode) -> Datapath:
    return Datapath(Mode.IPVLAN, IPVlanDatapath(mode))


@pytest.fixture(params=MODES)
def node(request: pytest.FixtureRequest) -> Generator[Node]:
    network = NeutronNetwork()
    made = Node("node", network, "10.99.0.11", "fd99::11")
    for number in NUMBERS:
        eni = eni_facts(f"eni-{number}", number, request.param, dual=True)
        addresses = (f"10.98.0.{number + 1}", f"fd98::{number + 1}")
        made.attach(f"ens{number}", eni, addresses)
        made.add(f"pod{number}", eni, *addresses)
    yield made
    made.close()
    network.close()


def state(node: Node) -> State:
    def look() -> State:
        with Netlink() as netlink:
            return observe(netlink) | observe_filters()

    seen = node.namespace.run(look)
    return frozenset(
        i for i in seen if not (isinstance(i, Address) and i.address.startswith("fe80:"))
    )


def wipe(node: Node) -> None:
    """Remove all rules and filters, and what the ENIs of ipvlan have on the node as links."""
    node.namespace.program("ip", "rule", "flush")
    node.namespace.ip("rule add pref 32766 lookup main", "rule add pref 32767 lookup default")
    node.namespace.nft("flush ruleset")
    for name in node.namespace.links():
        if name.startswith("oeni-"):
            node.namespace.ip(f"link del {name}")


def test_what_all_have_lost_is_restored_with_two_runs_of_nft(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps the network from the node comes first, and what needs routes and rules last."""
    whole, runs = state(node), list[str]()
    run: Any = subprocess.run

    def counted(argv: list[str], *rest: Any, **options: Any) -> Any:
        if argv[0].endswith("nft"):
            runs.append(options["input"])
        return run(argv, *rest, **options)

    wipe(node)
    monkeypatch.setattr(subprocess, "run", counted)
    report = node.look()
    monkeypatch.undo()
    of_all = [text for text in runs if FLOW_CHAIN not in text]  # those come alone
    assert (len(of_all), report.errors) == (2, {})
    assert state(node) == whole


def test_with_their_chains_come_the_members_that_pods_need(node: Node) -> None:
    """Before any pod is looked at again: all of them may have a call at work."""
    whole = state(node)
    node.namespace.nft("flush ruleset")
    node.look(hold=lambda _: nullcontext(frozenset()))
    assert members_of_pods(state(node)) == members_of_pods(whole)


def test_a_ruleset_from_before_nics_had_each_others_names_is_put_right(node: Node) -> None:
    """nft saves the names of links, not their indexes: one ENI's chains match another's link."""
    space = node.namespace
    saved = space.program("nft", "list", "ruleset")
    space.ip(
        *("link set ens10 down", "link set ens20 down"),
        *("link set ens10 name theirs", "link set ens20 name ens10", "link set theirs name ens20"),
    )
    node.look()
    before = chains(node)
    space.nft("flush ruleset\n" + saved)
    assert chains(node) != before
    node.look()
    assert chains(node) == before


def chains(node: Node) -> list[str]:
    listed = node.namespace.program("nft", "--stateless", "--terse", "list", "ruleset")
    return sorted(re.findall(r"chain \w+ {.*?\n\t}", listed, re.DOTALL))


@pytest.mark.ipvlan
@pytest.mark.parametrize(
    "node", [of_ipvlan(IPVlanMode.L2), of_ipvlan(IPVlanMode.L3)], indirect=True
)
def test_a_member_with_a_wrong_value_is_replaced(node: Node) -> None:
    """Not with the chains, since no member replaces another."""
    whole = state(node)
    sources = f"inet {names.NFT_TABLE} sources4"
    node.namespace.nft(
        f"delete element {sources} {{ 10.98.0.11 }}\n"
        f"add element {sources} {{ 10.98.0.11 : 10.98.0.99 }}\n"
        f"flush chain inet {names.NFT_TABLE} eni{node.look().links['eni-10'].ifindex}"
    )
    assert state(node) != whole
    assert node.look().errors == {}
    assert state(node) == whole


def members_of_pods(seen: State) -> list[Element]:
    found = (i for i in seen if isinstance(i, Element) and i.name[:-1] in NEEDED)
    return sorted(found, key=lambda member: (member.name, member.key))


def test_without_filters_all_else_is_restored(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Collection[str]) -> None:
        raise KernelRefusedError("ENOMEM")

    wipe(node)
    monkeypatch.setattr("openeni_nodeagent.datapath.linux.kernel._create_tables", refuse)
    for number in NUMBERS:
        node.namespace.ip(f"link set ens{number} down", f"link set ens{number} up")
    report = node.look()
    assert report.errors.keys() == {eni.name for eni in node.enis}
    assert "ENOMEM" in str(report.errors["eni-20"])
    rules = node.namespace.program("ip", "rule")
    for number in NUMBERS:
        index = node.namespace.run(socket.if_nametoindex, f"ens{number}")
        assert f"lookup {names.eni_table(index)}" in rules
        table = node.namespace.program("ip", "route", "show", "table", str(names.eni_table(index)))
        assert "default via" in table


def test_what_the_kernel_refuses_of_one_is_the_error_of_that_one_alone(node: Node) -> None:
    whole, refused = state(node), node.enis[0]
    wipe(node)
    node.enis[0] = replace(refused, mtu=70_000)
    report = node.look()
    assert report.errors.keys() == {refused.name}
    assert "mtu 70000" in str(report.errors[refused.name])
    assert report.links.keys() == {eni.name for eni in node.enis[1:]}
    node.enis[0] = refused
    assert node.look().errors == {}
    assert state(node) == whole


def test_a_nic_that_goes_during_a_look_is_the_error_of_its_eni_alone(node: Node) -> None:
    node.namespace.ip("addr flush dev ens10", "addr flush dev ens20")
    snapshot = node.namespace.run(node.datapath.observe, tuple(node.enis))
    node.network.unplug(Port("eni-10", node.enis[0].mac))
    assert node.look(snapshot=snapshot).errors.keys() == {"eni-10"}
    assert node.look().errors.keys() == {"eni-10"}


@pytest.mark.parametrize("datapath", MODES)
def test_a_nic_with_the_name_of_one_that_is_missing_serves_its_pods(datapath: Datapath) -> None:
    """Its slot, and so its name, is given again; the object of the missing one is still there."""
    network = NeutronNetwork()
    node = Node("node", network, "10.99.0.11", "fd99::11")
    dual = datapath.ipvlan_mode is not IPVlanMode.L3
    try:
        missing = node.attach("ens10", eni_facts("eni-a", 10, datapath, dual=dual), ())
        network.unplug(missing)
        node.look()
        eni, addresses = eni_facts("eni-b", 20, datapath, dual=dual), ("10.98.0.21", "fd98::21")
        port = node.attach("ens10", eni, addresses)
        if not dual:  # does not work without
            network.answer_arp(port)
        pod = node.add("pod", eni, *addresses[: 1 + dual]).namespace
        for address in (neutron.OUTSIDE, neutron.OUTSIDE_6)[: 1 + dual]:
            assert pod.ping(address)
    finally:
        node.close()
        network.close()
