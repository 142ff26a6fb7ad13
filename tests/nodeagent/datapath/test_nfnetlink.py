"""Set members and chains over netlink, compared with what nft lists."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_nodeagent.datapath.filters import metadata_chain, node_chains
from openeni_nodeagent.datapath.linux import nfnetlink, uapi
from openeni_nodeagent.datapath.linux.attributes import HEADER, attribute, attributes, to_text
from openeni_nodeagent.datapath.linux.kernel import (
    apply,
    delete_filters,
    observe_filters,
    open_netlink,
)
from openeni_nodeagent.datapath.linux.netlink import Netlink, Refusal
from openeni_nodeagent.datapath.model import Address, Chain, Element, Item, Operation, State, Verb
from openeni_nodeagent.datapath_api import KernelRefusedError, LinkFacts
from openeni_testing.network.netns import Namespace

v4 = st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n)))
# Below 1::, which no subnet is, inet_ntop(3) writes the old forms with an IPv4 address in them.
v6 = st.integers(1 << 112, 2**128 - 1).map(lambda n: str(IPv6Address(n)))
members = st.one_of(
    st.builds(Element, st.just("pods4"), v4),
    st.builds(Element, st.just("pods6"), v6),
    st.builds(Element, st.just("sources4"), v4, v4),
    st.builds(Element, st.just("sources6"), v6, v6),
)


@given(members)
def test_an_encoded_member_decodes_to_itself(member: Element) -> None:
    """A dump lists members as an order names them (nf_tables.h, NFTA_SET_ELEM_LIST_ELEMENTS)."""
    begin, message, end = nfnetlink.batch([Operation(Verb.ADD, member)])
    assert (begin[4], end[4]) == (uapi.NFNL_MSG_BATCH_BEGIN, uapi.NFNL_MSG_BATCH_END)
    assert list(nfnetlink.elements(member.name, message[HEADER.size :])) == [member]


def test_only_members_of_sets_can_be_encoded() -> None:
    with pytest.raises(TypeError):
        nfnetlink.batch([Operation(Verb.ADD, Address(1, "10.98.0.5", 32))])


def test_a_rule_of_another_table_is_not_counted_where_a_kernel_lists_it() -> None:
    ours, theirs = (
        bytes(4)
        + attribute(uapi.NFTA_RULE_TABLE, table)
        + attribute(uapi.NFTA_RULE_CHAIN, b"service\0")
        + attribute(uapi.NFTA_RULE_USERDATA, b"\0\x0bm 1 of 1\0")
        for table in (b"openeni\0", b"theirs\0")
    )
    whole = Chain("inet", "service", "m")
    assert list(nfnetlink.chains("inet", [theirs, ours, theirs])) == [whole]


@pytest.fixture
def netns() -> Iterator[Namespace]:
    with Namespace("filters") as made:
        yield made


def changed(netns: Namespace, verb: Verb, *items: Item) -> None:
    def change() -> None:
        with open_netlink() as netlink:
            apply([Operation(verb, item) for item in items], netlink)

    netns.run(change)


def listed(netns: Namespace, name: str) -> list[str | list[str]]:
    """The members of a set, or the pairs of a map, as nft shows them."""
    kind = "map" if name.startswith("sources") else "set"
    shown: list[Any] = json.loads(
        netns.program("nft", "-j", "list", kind, "inet", "openeni", name)
    )["nftables"]
    (found,) = (entry[kind] for entry in shown if kind in entry)
    return sorted(found.get("elem", []))


def refused(netns: Namespace, *operations: Operation) -> Sequence[Refusal]:
    def send() -> Sequence[Refusal]:
        with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
            return netfilter.execute(
                nfnetlink.batch(operations), unacknowledged=nfnetlink.BATCH_FRAME
            )

    return netns.run(send)


MEMBERS = (
    *(Element("pods4", f"10.98.0.{n}") for n in range(1, 200)),  # more than one message holds
    Element("pods6", "fd98::5"),
    Element("sources4", "10.98.0.5", "10.98.0.4"),
    Element("sources6", "fd98::5", "fd98::4"),
)


@pytest.mark.root
def test_nft_and_the_agent_list_the_members_that_were_added(netns: Namespace) -> None:
    chains = node_chains()
    changed(netns, Verb.ADD, *chains)
    changed(netns, Verb.ADD, *MEMBERS)
    assert listed(netns, "pods4") == sorted(m.key for m in MEMBERS if m.name == "pods4")
    assert listed(netns, "sources6") == [["fd98::5", "fd98::4"]]
    assert netns.run(observe_filters) == {*chains, *MEMBERS}
    changed(netns, Verb.ADD, *MEMBERS)  # again: no harm
    changed(netns, Verb.REMOVE, *MEMBERS[1:])
    assert listed(netns, "pods4") == ["10.98.0.1"]
    assert netns.run(observe_filters) == {*chains, MEMBERS[0]}


@pytest.mark.root
def test_a_batch_is_applied_whole_or_not_at_all_and_the_refusal_has_its_index(
    netns: Namespace,
) -> None:
    changed(netns, Verb.ADD, *node_chains())
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
    (whole,) = (c for c in node_chains() if c.name == chain)
    netns.nft(next(line for line in whole.text.splitlines() if line.startswith("add rule")) + "\n")


@pytest.mark.root
@pytest.mark.parametrize(
    "damage", [lose_the_first_rule, add_a_rule, empty_it, put_one_twice], ids=lambda d: d.__name__
)
def test_a_chain_that_is_not_whole_is_seen_and_the_others_are_not_doubted(
    netns: Namespace, damage: Callable[[Namespace, str], None]
) -> None:
    chains = node_chains()
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
def test_tables_of_others_are_neither_read_nor_erased(netns: Namespace) -> None:
    netns.nft('table inet theirs { chain service { tcp dport 1 accept comment "x 1 of 1"; }; }')
    assert netns.run(observe_filters) == frozenset()
    chain = metadata_chain(LinkFacts("lo", 1), at_egress=False)
    changed(netns, Verb.ADD, chain)
    assert netns.run(observe_filters) == {chain}
    changed(netns, Verb.REMOVE, chain)
    assert netns.run(observe_filters) == frozenset()
    netns.run(partial(delete_filters))
    assert netns.program("nft", "list", "tables").splitlines() == ["table inet theirs"]


@pytest.mark.root
def test_the_sets_have_nothing_in_them_that_an_older_nft_cannot_read(netns: Namespace) -> None:
    """nft 1.1.2 and later put data into sets that 1.1.1 and earlier crash on, kube-proxy's too."""
    changed(netns, Verb.ADD, *node_chains())

    def dumped() -> list[dict[int, bytes]]:
        request = nfnetlink.create_sets()[2]  # of a set, made a request for all
        kind = uapi.NFNL_SUBSYS_NFTABLES << 8 | uapi.NFT_MSG_GETSET
        flags = uapi.NLM_F_REQUEST | uapi.NLM_F_DUMP
        head = HEADER.pack(HEADER.size + 4, kind, flags, 0, 0) + request[16:20]
        with Netlink(uapi.NETLINK_NETFILTER) as netfilter:
            return [attributes(body, 4) for _, body in netfilter.dump(head)]

    found = netns.run(dumped)
    assert {to_text(one[uapi.NFTA_SET_NAME]) for one in found} == set(nfnetlink.SETS)
    assert not [one for one in found if uapi.NFTA_SET_USERDATA in one]
