"""The marks of a node's ENIs: distinct, lasting, and never a bit of somebody else's."""

from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath.marks import Mark, Marks
from openeni_nodeagent.datapath.model import Rule, State
from openeni_nodeagent.datapath_api import DatapathError
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import OUTSIDE, OUTSIDE_6, NeutronNetwork
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.network.topology import Topology
from openeni_testing.network.unserved import add_pod, attach, flush_rules, marks_in
from openeni_testing.waiting import repeating

MARKS = Marks(names.MARK_MASK)
VETH = Datapath(Mode.VETH)
REPLY, LOWEST = 0x10000, 0x20000
TABLES = range(10002, 10012)
OTHER_MASK = 0xFC000000
PORT, HOST_PORT = 5400, 5401
# As wg-quick has it: datagrams get the mark of their connection, often 0. Of chains at one
# priority, the one that was loaded last runs first.
WG_QUICK_CHAIN = """table inet wg {
  chain premangle {
    type filter hook prerouting priority mangle;
    meta l4proto udp meta mark set ct mark
  }
}"""

masks = st.sampled_from((names.MARK_MASK, OTHER_MASK))


def rule(family: int, table: int, mark: int, mask: int = names.MARK_MASK) -> Rule:
    return Rule(family, names.RULE_FROM_POD, table, mark=mark, mask=mask)


def numbered(family: int, table: int, value: int, mask: int) -> Rule:
    return rule(family, table, value * (mask & -mask), mask)


families, tables, values = st.sampled_from((4, 6)), st.sampled_from(TABLES), st.integers(1, 31)
rules = st.builds(numbered, families, tables, values, masks)


def given_to(table: int, *observed: Rule) -> int:
    return MARKS.of_table(frozenset(observed), table).value


def test_the_first_value_is_for_replies_and_the_next_for_the_first_eni() -> None:
    assert MARKS.reply == Mark(REPLY, names.MARK_MASK)
    assert given_to(10007) == LOWEST


def test_an_eni_keeps_its_mark_and_another_gets_the_lowest_free_one() -> None:
    observed = rule(4, 10007, 0x50000), rule(6, 10007, 0x50000), rule(4, 10008, LOWEST)
    assert given_to(10007, *observed) == 0x50000
    assert given_to(10009, *observed) == 0x30000


def test_a_mark_that_two_enis_have_is_neithers() -> None:
    observed = rule(4, 10007, LOWEST), rule(4, 10008, LOWEST)
    assert given_to(10007, *observed) == 0x30000


def test_rules_with_another_mask_say_nothing() -> None:
    assert given_to(10007, rule(4, 10007, 0x8000000, OTHER_MASK)) == LOWEST


def test_the_error_for_one_eni_too_many_names_the_way_out() -> None:
    full = [rule(4, 10000 + value, value << 16) for value in range(2, 32)]
    assert given_to(10031, *full) == 31 << 16
    with pytest.raises(DatapathError, match=r"all 30 marks.*agent\.markMask.*0x001f0000"):
        given_to(10032, *full)


@given(st.frozensets(rules), masks)
def test_one_after_another_all_enis_get_marks_of_their_own(state: State, mask: int) -> None:
    """Whatever was left in the kernel, and each keeps its mark from then on."""
    marks, found = Marks(mask), dict[int, int]()
    for table in TABLES:
        mark = marks.of_table(state, table)
        state = frozenset(i for i in state if isinstance(i, Rule) and i.table != table)
        state |= {rule(family, table, mark.value, mask) for family in (4, 6)}
        found[table] = mark.value
    assert len(set(found.values())) == len(TABLES)
    assert all(value & mask == value > marks.reply.value for value in found.values())
    assert found == {table: marks.of_table(state, table).value for table in TABLES}


def test_the_statement_changes_no_other_bit() -> None:
    assert Mark(LOWEST, names.MARK_MASK).statement == (
        "meta mark set meta mark and 0xffe0ffff or 0x20000"
    )


@pytest.mark.root
def test_marks_outlive_the_agent_and_follow_another_mask() -> None:
    network = NeutronNetwork()
    node = Node("node", network, "10.99.0.11", "fd99::11")
    enis = [eni_facts(f"eni-{n}", n, VETH) for n in (10, 20, 30)]
    for eni in enis:
        node.attach(f"ens{eni.primary[0][-2:]}", eni, ("10.98.0.21",) if eni is enis[1] else ())
    pod = node.add("pod", enis[1], "10.98.0.21")
    before = marks_in(node)
    assert [mark for _, mark in before] == [
        "0x20000/0x1f0000",
        "0x30000/0x1f0000",
        "0x40000/0x1f0000",
    ]
    for mask in (names.MARK_MASK, OTHER_MASK):
        node.datapath = KernelDatapath(mask)
        node.enis.reverse()
        assert not node.look().errors
        assert pod.namespace.ping("10.98.0.1")
        if mask == names.MARK_MASK:
            assert marks_in(node) == before
    assert {mark.partition("/")[2] for _, mark in marks_in(node)} == {f"{OTHER_MASK:#x}"}
    assert len({mark for _, mark in marks_in(node)}) == len(enis)
    assert network.dropped() == {}
    node.close()
    network.close()


@pytest.mark.root
def test_enis_keep_their_marks_when_all_rules_are_flushed() -> None:
    """Their chains still set these: another's packets would leave by the wrong ENI."""
    network = NeutronNetwork()
    node = Node("node", network, "10.99.0.11", "")
    enis = [eni_facts(f"eni-{n}", n, VETH) for n in (10, 20, 30)]
    for eni in enis:
        node.attach(f"ens{eni.primary[0][-2:]}", eni, ("10.98.0.31", "10.98.0.32"))
    node.add("pod", enis[2], "10.98.0.31")
    before = marks_in(node)
    flush_rules(node)
    node.namespace.nft("flush ruleset")
    ports = (PortMapping(8080, 80, Transport.TCP),)  # whose map is gone: the ADD restores all
    node.add("next", enis[2], "10.98.0.32", host_ports=ports)
    assert sorted(marks_in(node)) == sorted(before)
    node.enis.reverse()
    assert not node.look().errors
    assert sorted(marks_in(node)) == sorted(before)
    flush_rules(node)
    node.datapath = KernelDatapath()  # an agent that starts has the chains alone
    assert not node.look().errors
    assert sorted(marks_in(node)) == sorted(before)
    assert network.dropped() == {}
    node.close()
    network.close()


@pytest.mark.root
def test_they_keep_them_also_when_their_nics_are_plugged_again_while_no_agent_runs(
    network: NeutronNetwork, node: Node
) -> None:
    """The chains of the former indexes are all that is left, and still mark what pods send."""
    enis = [attach(node, number) for number in (10, 20)]
    pods = [add_pod(node, eni, int(eni.name[-2:])) for eni, _ in enis]
    before = [mark for _, mark in marks_in(node)]
    for _, port in enis:
        network.unplug(port)
    flush_rules(node)
    for eni, port in enis:
        network.plug(node.namespace, f"again{eni.name[-2:]}", port)
    node.datapath = KernelDatapath()
    node.enis.reverse()
    network.forget_dropped()

    def send() -> None:
        for pod in pods:
            with suppress(OSError):
                pod.send(OUTSIDE)

    with repeating(send):
        node.look()
    assert [mark for _, mark in sorted(marks_in(node))] == before
    assert network.dropped() == {}


@pytest.mark.root
def test_an_eni_that_the_kernel_refuses_keeps_its_mark(node: Node) -> None:
    for number in (10, 20):
        eni = eni_facts(f"eni-{number}", number, VETH)
        node.attach(f"ens{number}", eni, ())
    before = marks_in(node)
    node.enis = [replace(node.enis[1], mtu=70_000)]
    node.look(departing=(node.enis[0],))
    flush_rules(node)
    for _ in range(2):
        assert node.look().errors.keys() == {"eni-20"}
    assert marks_in(node) == before[1:]


@pytest.mark.root
@pytest.mark.parametrize("mask", [names.MARK_MASK, OTHER_MASK])
def test_enis_without_nics_have_one_mark_each_however_often_they_are_looked_at(
    node: Node, mask: int
) -> None:
    """An agent starts anew, and finds no rule with their marks, or such of another mask."""
    for number in (10, 20):
        port = node.attach(f"ens{number}", eni_facts(f"eni-{number}", number, VETH), ())
        node.network.unplug(port)
    node.look()
    for priority in (names.RULE_TO_SUBNET, names.RULE_FROM_VETH_POD):
        for _ in range(2 if mask == names.MARK_MASK else 0):
            node.namespace.ip(f"rule del pref {priority}")
    node.datapath = KernelDatapath(mask)
    for _ in range(3):
        node.look()
        assert len({table for table, _ in marks_in(node)}) == 2
        assert len({mark for _, mark in marks_in(node)}) == len(marks_in(node)) == 2


@pytest.fixture
def topology() -> Generator[Topology]:
    ports = (PortMapping(HOST_PORT, PORT, Transport.UDP),)
    made = Topology(VETH, True, {"a1": ports})
    yield made
    made.close()


def lead_into_tunnel(node: Namespace) -> None:
    """Do what wg-quick does for AllowedIPs 0.0.0.0/0 and ::/0, with a link that leads nowhere.

    Its rules are behind openeni's: it came first.
    """
    node.ip(
        "link add wg0 type veth peer name nowhere",
        "link set wg0 arp off up",
        "link set nowhere up",
    )
    for family in ("-4", "-6"):
        ip = partial(node.program, "ip", family)
        ip("route", "add", "default", "dev", "wg0", "table", "51820")
        ip("rule", "add", "pref", "32765", "not", "fwmark", "51820", "table", "51820")
        ip("rule", "add", "pref", "32764", "table", "main", "suppress_prefixlength", "0")


@pytest.mark.root
@pytest.mark.parametrize("family", [4, 6])
def test_datagrams_whose_mark_others_take_away_go_the_same_way(
    topology: Topology, family: int
) -> None:
    node, pod = topology.node.namespace, topology.pods["a1"].namespace
    outside, other = topology.network.outside, topology.pods["a2"].namespace
    of_node, of_outside = {4: ("10.99.0.11", OUTSIDE), 6: ("fd99::11", OUTSIDE_6)}[family]
    lead_into_tunnel(node)
    node.nft(WG_QUICK_CHAIN)
    servers = [(node, of_node), (other, topology.of("a2", family)), (outside, of_outside)]
    for namespace, address in servers:
        namespace.answer(PORT)
        assert pod.ask_by_datagram(address, PORT) is not None
    pod.answer(PORT)  # replies that leave by the NIC that the client came in on
    for client in (outside, topology.remote, other, node):
        assert client.ask_by_datagram(of_node, HOST_PORT) is not None
    assert topology.network.dropped() == {}


@pytest.mark.root
@pytest.mark.parametrize("family", [4, 6])
def test_so_do_answers_to_who_came_by_an_eni(topology: Topology, family: int) -> None:
    node, pod = topology.node.namespace, topology.pods["a1"]
    word, primary = {4: "ip", 6: "ip6"}[family], pod.facts.eni.primary[family == 6]
    node.nft(
        f"""table {word} theirs {{
          chain premangle {{ type filter hook prerouting priority mangle;
            meta l4proto udp meta mark set 0; }}
          chain services {{ type nat hook prerouting priority dstnat;
            {word} daddr {primary} udp dport {PORT} dnat to {topology.of("a1", family)}; }}
        }}"""
    )
    pod.namespace.answer(PORT)
    for client in (topology.remote, topology.network.outside):
        assert client.ask_by_datagram(primary, PORT) is not None
    assert topology.network.dropped() == {}


@pytest.mark.root
def test_a_mark_that_others_set_instead_is_believed(topology: Topology) -> None:
    """As a node has it that leads what its pods send to a tunnel: their rule needs no mask."""
    node, pod = topology.node.namespace, topology.pods["a1"].namespace
    node.nft(
        "table inet theirs { chain premangle { type filter hook prerouting priority mangle; "
        f"udp dport {PORT} meta mark set 0x99\n }}\n}}"
    )
    node.ip("rule add pref 1000 fwmark 0x99 lookup 99", "route add default via 10.99.0.1 table 99")
    topology.network.outside.answer(PORT)
    assert pod.ask_by_datagram(OUTSIDE, PORT) is None  # by the node's NIC: Neutron drops it there
    assert topology.network.dropped() != {}
