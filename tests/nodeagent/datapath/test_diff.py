"""The comparison behind everything, without a kernel."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from openeni_crds import names
from openeni_nodeagent.datapath.describe import sentence, text
from openeni_nodeagent.datapath.diff import diff, in_order
from openeni_nodeagent.datapath.model import (
    NIC,
    NOTHING,
    VETH,
    Address,
    Chain,
    Element,
    Item,
    Link,
    Neighbour,
    Operation,
    Route,
    RouteType,
    Rule,
    State,
    Sysctl,
    Verb,
)

LINKS = tuple(Link(f"oeni{n}", n, VETH, "ee:ee:ee:ee:ee:ee", 1450) for n in (7, 8))
PLAIN: tuple[Item, ...] = (
    Address(7, "10.98.0.11", 32),
    Address(8, "10.98.0.12", 32),
    Neighbour(7, "10.98.0.11", "02:00:00:00:00:01"),
    Neighbour(7, "10.98.0.11", "02:00:00:00:00:02"),
    Neighbour(9, "10.98.0.11"),
    Route("10.98.0.11/32", 9999, 7),
    Route("0.0.0.0/0", 254, 8, "169.254.1.1"),
    Route("::/0", 254, 8, "fe80::1"),
    Route("::/0", 254, 8, "fe80::2"),
    Route("::/0", 254, 8, "fe80::3"),
    Route("169.254.169.254/32", 10009, type=RouteType.PROHIBIT),
    Route("0.0.0.0/0", 10009, metric=4294967295, type=RouteType.UNREACHABLE),
    Rule(4, 490, 10009, iif="lo", oif="ens9"),
    Rule(4, 600, 10009, mark=0x20000, mask=0x1F0000),
    Element("pods4", "10.98.0.11"),
    Chain("inet", "service", "abc", "text"),
)
states = st.frozensets(st.sampled_from((*LINKS, *PLAIN)))


def place(item: Item) -> tuple[object, ...]:
    """Return what the kernel replaces a route or a neighbour by; others have it to themselves."""
    match item:
        case Route(type=RouteType.UNICAST):
            return Route, item.destination, item.table, item.metric
        case Neighbour():
            return Neighbour, item.index, item.address
        case _:
            return (item,)


def planned(state: State) -> State:
    """Return the state with one item for each place: no plan has two."""
    return frozenset({place(item): item for item in sorted(state, key=repr)}.values())


def carried_out(observed: State, operations: tuple[Operation, ...]) -> State:
    """Return the state that a kernel would have: it removes with a link what is on it."""
    state = set(observed)
    for operation in operations:
        item = operation.item
        match operation.verb, item:
            case Verb.REMOVE, Link():
                state = {i for i in state if getattr(i, "index", 0) != item.index}
            case Verb.REMOVE, _:
                state.discard(item)
            case _, Link():
                same = {i for i in state if isinstance(i, Link) and i.identity == item.identity}
                assert same or operation.verb is Verb.ADD, "a link that is not there is changed"
                state = state - same | {replace(item, up=operation.verb is Verb.CHANGE)}
            case _, Chain():
                state = {i for i in state if not (isinstance(i, Chain) and i.name == item.name)} | {
                    item
                }
            case _:
                others = {i for i in state - {item} if place(i) == place(item)}
                assert len(others) <= (operation.verb is Verb.CHANGE), "the kernel would refuse"
                state = state - others | {item}
    return frozenset(state)


@given(states, states.map(planned))
def test_from_any_state_to_any_other(observed: State, wanted: State) -> None:
    assert carried_out(observed, diff(observed, wanted)) == wanted


@given(states)
def test_equal_states_need_no_operation(state: State) -> None:
    assert diff(state, state) == ()


def test_a_link_is_created_first_and_set_up_after_its_sysctls() -> None:
    quiet = Sysctl(f"net/ipv6/conf/{LINKS[0].name}/disable_ipv6", "1")
    verbs = [(o.verb, type(o.item)) for o in diff(NOTHING, frozenset({LINKS[0], quiet, PLAIN[0]}))]
    assert verbs == [
        (Verb.ADD, Link),
        (Verb.ADD, Sysctl),
        (Verb.CHANGE, Link),
        (Verb.ADD, Address),
    ]


def test_a_nic_is_changed_after_its_sysctls_and_before_it_gets_slaves() -> None:
    nic = Link("eth1", 7, NIC, "fa:16:3e:00:00:01", 1500)
    quiet = Sysctl("net/ipv6/conf/eth1/accept_ra", "0")
    done = diff(frozenset({replace(nic, up=False)}), frozenset({LINKS[0], nic, quiet}))
    assert [o.item for o in done] == [quiet, nic, LINKS[0], LINKS[0]]


def test_a_link_that_is_created_anew_gets_its_items_back() -> None:
    old = replace(LINKS[0], mac="02:00:00:00:00:09")
    kept = {PLAIN[0], PLAIN[2]}
    wanted = frozenset({LINKS[0], *kept})
    operations = diff(frozenset({old, *kept}), wanted)
    assert carried_out(frozenset({old, *kept}), operations) == wanted
    assert kept < {o.item for o in operations}


def test_a_nic_is_changed_and_never_removed() -> None:
    nic = Link("eth1", 7, NIC, "fa:16:3e:00:00:01", 1500, up=False)
    assert diff(frozenset({nic}), NOTHING) == ()
    ready = replace(nic, mtu=1450, up=True)
    assert diff(frozenset({nic}), frozenset({ready})) == (Operation(Verb.CHANGE, ready),)


def test_a_nic_that_is_missing_is_not_created() -> None:
    nic = Link("eth1", 7, NIC, "fa:16:3e:00:00:01", 1450)
    assert diff(NOTHING, frozenset({nic})) == (Operation(Verb.CHANGE, nic),)


def test_a_link_changes_its_group_in_place() -> None:
    moved = replace(LINKS[0], group=10008)
    assert diff(frozenset({LINKS[0]}), frozenset({moved})) == (Operation(Verb.CHANGE, moved),)


def test_a_route_of_ours_is_replaced_in_its_place() -> None:
    old, new = (Route("::/0", 10009, 9, gateway) for gateway in ("fe80::1", "fe80::2"))
    assert diff(frozenset({old}), frozenset({new})) == (Operation(Verb.CHANGE, new),)
    theirs = replace(old, protocol=4)
    done = diff(frozenset({old, theirs}), frozenset({new}))
    assert set(done) == {Operation(Verb.CHANGE, new), Operation(Verb.REMOVE, theirs)}


def test_what_rejects_packets_goes_before_a_route_is_replaced() -> None:
    """The kernel would take the one that has come for it, by IPv6."""
    old, new = (Route("::/0", 10009, 9, gateway) for gateway in ("fe80::1", "fe80::2"))
    ends = Route("::/0", 10009, type=RouteType.UNREACHABLE)
    done = diff(frozenset({old, ends}), frozenset({new}))
    assert done == (Operation(Verb.REMOVE, ends), Operation(Verb.CHANGE, new))


def test_a_chain_that_differs_is_replaced_by_one_operation() -> None:
    old, new = Chain("inet", "service", "", ""), Chain("inet", "service", "abc", "text")
    assert diff(frozenset({old}), frozenset({new})) == (Operation(Verb.ADD, new),)


def test_a_rule_goes_once_chains_give_no_packet_its_mark_any_more() -> None:
    """An agent with another mask of marks: each packet finds the rule of the mark that it has."""
    old_rule = Rule(4, 600, 10009, mark=0x20000, mask=0x1F0000)
    rule = replace(old_rule, mark=0x40000, mask=0x3C0000)
    old_chain, chain = Chain("inet", "eni9", "a", ""), Chain("inet", "eni9", "b", "text")
    done = diff(frozenset({old_rule, old_chain}), frozenset({rule, chain}))
    assert [(o.verb, o.item) for o in done] == [
        (Verb.ADD, rule),
        (Verb.ADD, chain),
        (Verb.REMOVE, old_rule),
    ]


def test_what_ends_packets_in_a_table_goes_after_the_last_rule_that_leads_there() -> None:
    """A NIC that is plugged again has another table: its pods may be sending meanwhile."""
    rules = [Rule(4, 600, table, mark=0x20000, mask=0x1F0000) for table in (10009, 10012)]
    ends = [
        Route("0.0.0.0/0", table, metric=4294967295, type=RouteType.UNREACHABLE)
        for table in (10009, 10012)
    ]
    done = diff(frozenset({rules[0], ends[0]}), frozenset({rules[1], ends[1]}))
    assert [(o.verb, o.item) for o in done] == [
        (Verb.ADD, ends[1]),
        (Verb.ADD, rules[1]),
        (Verb.REMOVE, rules[0]),
        (Verb.REMOVE, ends[0]),
    ]


def test_a_route_goes_before_another_to_its_destination_comes() -> None:
    """The kernel may delete another one than that which was meant."""
    old = Route("::/0", 10009, metric=4294967295, type=RouteType.UNREACHABLE)
    new = Route("::/0", 10009, 9, "fd98::1")
    done = diff(frozenset({old}), frozenset({new}))
    assert [(o.verb, o.item) for o in done] == [(Verb.REMOVE, old), (Verb.ADD, new)]


def test_what_several_parts_need_is_ordered_as_if_it_were_one() -> None:
    gone: list[Item] = [Rule(4, 600, 10009, mark=0x20000), Chain("inet", "eni9", "a", "")]
    come: list[Item] = [
        *(Rule(4, 600, 10000 + n, mark=n << 16) for n in (7, 8)),
        *(Chain("inet", f"eni{n}", "b", "text") for n in (7, 8)),
    ]
    parts = [diff(NOTHING, frozenset(come[::2])), diff(NOTHING, frozenset(come[1::2]))]
    parts.append(diff(frozenset(gone), NOTHING))
    done = in_order([operation for part in parts for operation in part])
    assert [(o.verb, type(o.item)) for o in done] == [
        (Verb.ADD, Rule),
        (Verb.ADD, Rule),
        (Verb.ADD, Chain),
        (Verb.ADD, Chain),
        (Verb.REMOVE, Chain),
        (Verb.REMOVE, Rule),
    ]


def test_the_way_to_pods_comes_once_a_chain_keeps_others_off_it() -> None:
    answer = Rule(6, names.RULE_ANSWER_V6, names.TABLE_L3_PODS, source="fd98::10/128")
    other = Rule(6, names.RULE_FROM_L3_POD, 10009)
    chain = Chain("inet", "eni9", "b", "text")
    done = diff(NOTHING, frozenset({answer, other, chain}))
    assert [operation.item for operation in done] == [other, chain, answer]


def test_what_protects_a_nic_is_there_before_it_comes_up_and_until_it_is_down() -> None:
    """No refusal comes before it."""
    nic = Link("eth1", 9, NIC, "fa:16:3e:00:00:01", 1500)
    down, guard = replace(nic, up=False), Chain("inet", "eni9_node", "a", "text", protects=True)
    marks, route = Chain("inet", "eni9", "b", "text"), Route("10.98.0.0/24", 10009, 9)
    foreign, quiet = Route("10.0.0.0/8", 254, 9), Sysctl("net/ipv6/conf/eth1/accept_ra", "0")
    done = diff(frozenset({down, foreign}), frozenset({nic, guard, marks, route, quiet}))
    assert [o.item for o in done] == [guard, foreign, quiet, nic, route, marks]
    left = diff(frozenset({nic, guard, marks}), frozenset({down}))
    assert left[0] == Operation(Verb.CHANGE, down)
    assert {o.item for o in left[1:]} == {guard, marks}


def test_differences_are_sentences() -> None:
    sentences = {sentence(o) for o in diff(frozenset(PLAIN[:2]), frozenset({*LINKS, *PLAIN[4:]}))}
    assert "address 10.98.0.11/32 on link 7 should not be there" in sentences
    assert "link oeni7 veth mtu 1450 up is missing" in sentences
    assert "route 0.0.0.0/0 via 169.254.1.1 on link 8 table 254 is missing" in sentences
    assert "route prohibit 169.254.169.254/32 table 10009 is missing" in sentences
    default = "route unreachable 0.0.0.0/0 table 10009 metric 4294967295"
    assert f"{default} is missing" in sentences
    assert "IPv4 rule 490 iif lo oif ens9 lookup 10009 is missing" in sentences
    assert "IPv4 rule 600 fwmark 0x20000/0x1f0000 lookup 10009 is missing" in sentences


def test_an_address_is_not_called_needless_for_what_it_has_lost() -> None:
    address = Address(7, "10.98.0.10", 32)
    (first, second) = diff(frozenset({replace(address, is_routed=False)}), frozenset({address}))
    assert sentence(first) == f"{text(address)} without its local route should not be there"
    assert sentence(second) == f"{text(address)} is missing"
