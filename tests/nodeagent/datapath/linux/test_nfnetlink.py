"""Set members and chains over netlink, compared with what nft lists."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink.nftsocket import (
    NFT_MSG_GETSET,
    nft_set_elem_list_msg,
    nft_set_msg,
)

from openeni_crds import names
from openeni_nodeagent.datapath.filters.egress import egress_chain
from openeni_nodeagent.datapath.filters.node import node_chains
from openeni_nodeagent.datapath.linux import dumps, items, nfnetlink, readers, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    delete_filters,
    observe_filters,
)
from openeni_nodeagent.datapath.linux.netlink import Netlink, Refusal
from openeni_nodeagent.datapath.marks import Marks
from openeni_nodeagent.datapath.model import (
    Address,
    Chain,
    Element,
    Item,
    Operation,
    State,
    Verb,
)
from openeni_nodeagent.datapath.nft_sets import SETS, joined
from openeni_nodeagent.datapath_api import KernelRefusedError, LinkFacts, NodeFacts
from openeni_testing.network.netns import Namespace

v4 = st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n)))
# Below 1::, which no subnet is, inet_ntop(3) writes the old forms with an IPv4 address in them.
v6 = st.integers(1 << 112, 2**128 - 1).map(lambda n: str(IPv6Address(n)))
protocol, port = st.sampled_from(["tcp", "udp", "sctp", "89"]), st.integers(0, 65535)
members = st.one_of(
    st.builds(Element, st.just("pods4"), v4),
    st.builds(Element, st.just("pods6"), v6),
    st.builds(Element, st.just("sources4"), v4, v4),
    st.builds(Element, st.just("sources6"), v6, v6),
    st.builds(Element, st.just("hairpins4"), st.builds(joined, v4, v4), v4),
    st.builds(
        Element,
        st.just("anyports6"),
        st.builds(joined, protocol, port),
        st.builds(joined, v6, port),
    ),
    st.builds(
        Element,
        st.just("hostports4"),
        st.builds(joined, v4, protocol, port),
        st.builds(joined, v4, port),
    ),
)


def decoded(reader: Any, message: bytes) -> Any:
    made = reader(message)
    made.decode()
    return made


@given(members)
def test_an_encoded_member_decodes_to_itself(member: Element) -> None:
    """A dump lists members as an order names them (nf_tables.h, NFTA_SET_ELEM_LIST_ELEMENTS)."""
    begin, message, end = nfnetlink.batch([Operation(Verb.ADD, member)])
    assert (begin[4], end[4]) == (uapi.NFNL_MSG_BATCH_BEGIN, uapi.NFNL_MSG_BATCH_END)
    assert list(items.elements(decoded(nft_set_elem_list_msg, message))) == [member]


def test_only_members_and_links_of_the_flowtable_can_be_encoded() -> None:
    with pytest.raises(TypeError):
        nfnetlink.batch([Operation(Verb.ADD, Address(1, "10.98.0.5", 32))])


def test_a_rule_of_another_table_is_not_counted_where_a_kernel_lists_it() -> None:
    bodies = (
        bytes(nfnetlink.NFGENMSG.size)
        + attribute(uapi.NFTA_RULE_TABLE, table)
        + attribute(uapi.NFTA_RULE_CHAIN, b"service\0")
        + attribute(uapi.NFTA_RULE_USERDATA, b"\0\x09m 1 of 1\0")
        for table in (b"openeni\0", b"theirs\0")
    )
    ours, theirs = (
        readers.OUR_FILTER_RULE(HEADER.pack(HEADER.size + len(body), 0, 0, 0, 0) + body)
        for body in bodies
    )
    assert (ours, theirs) == (("service", "m 1 of 1"), None)


@pytest.fixture
def netns() -> Iterator[Namespace]:
    with Namespace("filters") as made:
        yield made


def changed(netns: Namespace, verb: Verb, *items: Item) -> None:
    def change() -> None:
        with Netlink() as netlink:
            apply([Operation(verb, item) for item in items], netlink)

    netns.run(change)


def listed(netns: Namespace, name: str) -> list[Any]:
    """The members of a set, or the pairs of a map, as nft shows them."""
    kind = "map" if SETS[name].value else "set"
    shown: list[Any] = json.loads(
        netns.program("nft", "-j", "list", kind, "inet", "openeni", name)
    )["nftables"]
    (found,) = (entry[kind] for entry in shown if kind in entry)
    return sorted(found.get("elem", []))


def refused(netns: Namespace, *operations: Operation) -> Sequence[Refusal]:
    def send() -> Sequence[Refusal]:
        with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
            return netfilter.execute_framed(nfnetlink.batch(operations))

    return netns.run(send)


NODE = NodeFacts(("10.99.0.11", "fd99::11"), local_dns=("169.254.20.10",))
REPLY = Marks(names.MARK_MASK).reply
MEMBERS = (
    *(Element("pods4", f"10.98.0.{n}") for n in range(1, 200)),  # more than one message holds
    Element("pods6", "fd98::5"),
    Element("sources4", "10.98.0.5", "10.98.0.4"),
    Element("sources6", "fd98::5", "fd98::4"),
    Element("primaries4", "10.98.0.4"),
    Element("hairpins6", "fd98::5 . fd98::5", "fd98::4"),
    Element("anyports4", "tcp . 8080", "10.98.0.5 . 80"),
    Element("anyports6", "sctp . 1", "fd98::5 . 65535"),
    Element("hostports4", "10.99.0.11 . udp . 53", "10.98.0.5 . 5353"),
    Element("hostports6", "fd99::11 . tcp . 8080", "fd98::5 . 80"),
)


@pytest.mark.root
def test_nft_and_the_agent_list_the_members_that_were_added(netns: Namespace) -> None:
    chains = node_chains(REPLY, NODE)
    changed(netns, Verb.ADD, *chains)
    changed(netns, Verb.ADD, *MEMBERS)
    assert listed(netns, "pods4") == sorted(m.key for m in MEMBERS if m.name == "pods4")
    assert listed(netns, "sources6") == [["fd98::5", "fd98::4"]]
    assert listed(netns, "hostports4") == [
        [{"concat": ["10.99.0.11", "udp", 53]}, {"concat": ["10.98.0.5", 5353]}]
    ]
    assert listed(netns, "anyports6") == [[{"concat": ["sctp", 1]}, {"concat": ["fd98::5", 65535]}]]
    assert netns.run(observe_filters) == {*chains, *MEMBERS}
    changed(netns, Verb.ADD, *MEMBERS)  # again: no harm
    changed(netns, Verb.REMOVE, *MEMBERS[1:])
    assert listed(netns, "pods4") == ["10.98.0.1"]
    assert netns.run(observe_filters) == {*chains, MEMBERS[0]}


@pytest.mark.root
def test_a_batch_is_applied_whole_or_not_at_all_and_the_refusal_has_its_index(
    netns: Namespace,
) -> None:
    changed(netns, Verb.ADD, *node_chains(REPLY, NODE))
    operations = [
        Operation(Verb.ADD, Element("pods4", "10.98.0.1")),
        Operation(Verb.REMOVE, Element("pods4", "10.98.0.2")),
    ]
    (refusal,) = refused(netns, *operations)
    assert (refusal.index - nfnetlink.BATCH_FRAME, refusal.name) == (1, "ENOENT")
    assert listed(netns, "pods4") == []


@pytest.mark.root
def test_removing_a_missing_member_succeeds_and_adding_without_a_set_fails(
    netns: Namespace,
) -> None:
    changed(netns, Verb.REMOVE, MEMBERS[0])
    with pytest.raises(KernelRefusedError, match="pods4"):
        changed(netns, Verb.ADD, MEMBERS[0])
    assert netns.run(observe_filters) == frozenset()


def lose_the_first_rule(netns: Namespace, chain: str) -> None:
    words = ("list", "chain", "inet", "openeni", chain)
    rules = json.loads(netns.program("nft", "-j", "-a", *words))["nftables"]
    handle = next(entry["rule"]["handle"] for entry in rules if "rule" in entry)
    netns.nft(f"delete rule inet openeni {chain} handle {handle}")


def add_a_rule(netns: Namespace, chain: str) -> None:
    netns.nft(f'add rule inet openeni {chain} counter comment "theirs"')


def empty_it(netns: Namespace, chain: str) -> None:
    netns.nft(f"flush chain inet openeni {chain}")


def put_one_twice(netns: Namespace, chain: str) -> None:
    (whole,) = (c for c in node_chains(REPLY, NODE) if c.name == chain)
    netns.nft(next(line for line in whole.text.splitlines() if line.startswith("add rule")) + "\n")


@pytest.mark.root
@pytest.mark.parametrize(
    "damage", [lose_the_first_rule, add_a_rule, empty_it, put_one_twice], ids=lambda d: d.__name__
)
def test_a_chain_that_is_not_whole_is_seen_and_the_others_are_not_doubted(
    netns: Namespace, damage: Callable[[Namespace, str], None]
) -> None:
    chains = node_chains(REPLY, NODE)
    changed(netns, Verb.ADD, *chains)
    assert netns.run(observe_filters) == chains
    damage(netns, "service")
    seen: State = netns.run(observe_filters)
    others = {c for c in chains if c.name != "service"}
    assert seen & chains == others
    assert seen - chains <= {Chain("inet", "service", "")}
    changed(netns, Verb.ADD, *chains)
    assert netns.run(observe_filters) == chains


@pytest.mark.root
@pytest.mark.parametrize("family", ["inet", "netdev"])
def test_the_chains_of_a_dormant_table_are_not_whole_until_they_wake(
    netns: Namespace, family: str
) -> None:
    chains = node_chains(REPLY, NODE) | {egress_chain(LinkFacts("lo", 1))}
    changed(netns, Verb.ADD, *chains)
    netns.nft(f"add table {family} openeni {{ flags dormant; }}")
    asleep = frozenset(c for c in chains if c.family == family)
    assert netns.run(observe_filters) == {
        *(chains - asleep),
        *(Chain(c.family, c.name, "") for c in asleep),
    }
    changed(netns, Verb.ADD, *asleep)
    assert netns.run(observe_filters) == chains
    assert "dormant" not in netns.program("nft", "list", "ruleset")


@pytest.mark.root
def test_tables_of_others_are_neither_read_nor_erased(netns: Namespace) -> None:
    netns.nft('table inet theirs { chain service { tcp dport 1 accept comment "x 1 of 1"; }; }')
    assert netns.run(observe_filters) == frozenset()
    chain = egress_chain(LinkFacts("lo", 1))
    changed(netns, Verb.ADD, chain)
    assert netns.run(observe_filters) == {chain}
    changed(netns, Verb.REMOVE, chain)
    assert netns.run(observe_filters) == frozenset()
    netns.run(partial(delete_filters))
    assert netns.program("nft", "list", "tables").splitlines() == ["table inet theirs"]


@pytest.mark.root
def test_a_chain_is_replaced_with_its_hook(netns: Namespace) -> None:
    """A link that was renamed: the egress chain is bound to its name."""
    netns.ip("link add ens7 type veth peer name other")
    changed(netns, Verb.ADD, egress_chain(LinkFacts("ens7", 7)))
    netns.ip("link set ens7 name ens99")
    renamed = egress_chain(LinkFacts("ens99", 7))
    changed(netns, Verb.ADD, renamed)
    assert netns.run(observe_filters) == {renamed}
    hooks = re.findall(
        r'device "?(\w+)', netns.program("nft", "list", "table", "netdev", "openeni")
    )
    assert hooks == ["ens99"]


@pytest.mark.root
def test_an_error_of_nft_quotes_what_the_kernel_refused(netns: Namespace) -> None:
    wrong = Chain("inet", "wrong", "", "add table inet openeni\nadd chain inet nowhere wrong\n")
    with pytest.raises(KernelRefusedError, match=r"No such file .* add chain inet nowhere wrong"):
        changed(netns, Verb.ADD, wrong)


@pytest.mark.root
def test_the_sets_have_nothing_in_them_that_an_older_nft_cannot_read(netns: Namespace) -> None:
    """nft 1.1.2 and later put data into sets that 1.1.1 and earlier crash on, kube-proxy's too."""
    changed(netns, Verb.ADD, *node_chains(REPLY, NODE))

    def dumped() -> list[Any]:
        request: Any = nft_set_msg()
        request["nfgen_family"] = uapi.NFPROTO_INET
        request["attrs"] = [("NFTA_SET_TABLE", "openeni")]
        kind = uapi.NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSET
        with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
            return list(dumps.dump(netfilter, kind, request))

    found = netns.run(dumped)
    assert {one.get_attr("NFTA_SET_NAME") for one in found} == set(SETS)
    assert not [one for one in found if one.get_attr("NFTA_SET_USERDATA")]
