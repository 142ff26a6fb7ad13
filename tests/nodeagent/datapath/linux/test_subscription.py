"""The kernel's notifications on a real node: what others do is noticed, what ADD does is not."""

import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.changes import Change, Kind, Watched, watched
from openeni_nodeagent.datapath.eni import plan_eni
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.linux import subscription as module
from openeni_nodeagent.datapath.linux.subscription import Subscription
from openeni_nodeagent.datapath.model import NOTHING, Element, Operation, Rule, Verb
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import MODES, OneENI, apply_one
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
SENTINEL = 32000  # priority of a rule; both of its changes show that all before has been read
OF_OTHERS = (
    "link add theirs type veth peer name their-peer",
    "link set theirs up",
    "addr add 192.0.2.1/24 dev theirs",
    "route add 198.51.100.0/24 dev theirs",
    "neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev theirs",
    "neigh del 192.0.2.2 dev theirs",
    "link del theirs",
)
SYSCTLS = "ipv4.conf.ens7.forwarding=0", "ipv6.conf.ens7.proxy_ndp=0", "ipv4.conf.all.rp_filter=1"
FLOOD = 3000  # changes: more than the receive buffer holds


class Listener:
    """A subscription in a node's namespace, and what it has reported."""

    def __init__(self, namespace: Namespace, watched: Watched) -> None:
        self.changes: list[Change] = []
        self.proceed = threading.Event()  # `changed` waits for it
        self.proceed.set()
        self.subscription = Subscription(lambda: watched, self._changed)
        self._namespace = namespace
        namespace.run(self.subscription.start)

    def close(self) -> None:
        self.proceed.set()
        self.subscription.close()

    def _changed(self, change: Change) -> None:
        self.changes.append(change)
        self.proceed.wait(60)

    def wait(self, kind: Kind, what: str) -> None:
        """Wait for a change of this kind, and forget it with all before it."""
        wait_for(lambda: kind in [change.kind for change in self.changes], what)
        self.changes.clear()

    def kinds(self) -> list[Kind]:
        """Return what has been reported of all that was done before, but this call's changes."""
        rule = f"from 192.0.2.1 lookup 7 priority {SENTINEL} protocol {names.PROTOCOL}"
        self._namespace.ip(f"rule add {rule}", f"rule del {rule}")
        wait_for(lambda: len([c for c in self.changes if _is_sentinel(c)]) == 2, "the sentinel")
        seen = [change.kind for change in self.changes if not _is_sentinel(change)]
        self.changes.clear()
        return seen


def _is_sentinel(change: Change) -> bool:
    return isinstance(change.item, Rule) and change.item.priority == SENTINEL


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Generator[OneENI]:
    made = OneENI(getattr(request, "param", Datapath(Mode.VETH)))
    made.node.namespace.sysctl("net/ipv4/conf/all/rp_filter", "0")
    yield made
    made.close()


@pytest.fixture
def pod() -> Iterator[Namespace]:
    with Namespace("pod") as made:
        yield made


@pytest.fixture
def watching(bench: OneENI) -> Watched:
    eni = bench.place().eni
    return watched(plan_eni(eni), NOTHING, frozenset({eni.facts.mac}))


@pytest.fixture
def listener(bench: OneENI, watching: Watched) -> Iterator[Listener]:
    made = Listener(bench.node.namespace, watching)
    made.wait(Kind.UNKNOWN, "the beginning")
    yield made
    made.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def damages(pod: NodePod) -> tuple[tuple[Kind, str], ...]:
    """Return commands that take away or change what is ours, to be run one after the other."""
    oe, mac = pod.host_link, pod.facts.eni.mac
    return (
        (Kind.NEIGHBOUR, f"ip neigh replace 10.98.0.11 lladdr 02:00:00:00:00:09 dev {oe}"),
        (Kind.NEIGHBOUR, f"ip neigh del 10.98.0.11 dev {oe}"),
        (Kind.NEIGHBOUR, f"ip neigh flush dev {oe} nud permanent"),  # the IPv6 one
        (Kind.ROUTE, f"ip route del 10.98.0.11 table {names.TABLE_PODS}"),
        (Kind.ROUTE, f"ip -6 route flush table {names.TABLE_PODS}"),
        (Kind.RULE, f"ip rule del priority {names.RULE_TO_POD}"),
        (Kind.RULE, "ip -6 rule flush"),
        (Kind.ADDRESS, "ip addr del 10.98.0.10/32 dev ens7"),
        (Kind.ADDRESS, "ip addr del fd98::10/128 dev ens7"),
        (Kind.ADDRESS, "ip -6 addr flush dev ens7 scope link"),
        (Kind.ADDRESS, "ip addr add 10.98.0.77/24 dev ens7"),
        (Kind.ADDRESS, "ip addr add fd98::77/64 dev ens7 nodad"),
        (Kind.ROUTE, "ip route add 192.0.2.0/24 dev ens7"),
        (Kind.ROUTE, f"ip route flush table {pod.eni.table}"),
        (Kind.ROUTE, f"ip -6 route flush table {pod.eni.table}"),
        *((Kind.SYSCTL, f"sysctl -w net.{sysctl}") for sysctl in SYSCTLS),
        (Kind.LINK, "ip link set ens7 mtu 1400"),
        (Kind.LINK, "ip link set ens7 master theirs"),
        (Kind.LINK, "ip link set ens7 down"),
        (Kind.LINK, "ip link set ens7 name eth9"),
        (Kind.LINK, "ip link del eth9"),
        (Kind.LINK, f"ip link add ens9 address {mac} type veth peer name far"),
        (Kind.LINK, f"ip link set {oe} down"),
        (Kind.LINK, f"ip link set {oe} name veth9"),
        (Kind.LINK, "ip link del veth9"),
    )


def test_everything_that_others_take_away_or_change_is_noticed(
    bench: OneENI, pod: Namespace, listener: Listener
) -> None:
    bench.add(pod.path)
    bench.node.namespace.ip("link add theirs type bridge")
    assert listener.kinds() == []
    for kind, command in damages(bench.place()):
        bench.node.namespace.program(*command.split())
        listener.wait(kind, command)
        listener.kinds()  # what is noticed next is of the next command


@pytest.mark.parametrize(
    "command",
    [
        "add element inet openeni pods4 { 10.98.0.12 }",
        "flush chain inet openeni service",
        "delete chain inet openeni reply_in",
        "delete table inet openeni",
        "flush ruleset",
    ],
)
def test_whatever_others_do_to_our_tables_is_noticed(
    bench: OneENI, listener: Listener, command: str
) -> None:
    bench.node.namespace.nft(command)
    listener.wait(Kind.FILTER, command)


@pytest.mark.parametrize("bench", MODES, indirect=True)
def test_an_add_and_a_check_are_not_noticed_and_of_a_del_only_that_the_link_goes(
    bench: OneENI, pod: Namespace, listener: Listener
) -> None:
    bench.add(pod.path)
    assert bench.check(pod.path) == ()
    assert listener.kinds() == []
    bench.add(pod.path)  # again: it observes and finds nothing to do
    assert listener.kinds() == []
    bench.delete(pod.path)
    of_link = [Kind.LINK] if bench.eni.datapath.mode is Mode.VETH else []
    assert set(listener.kinds()) <= set(of_link)


def test_members_that_this_process_adds_to_sets_are_not_noticed(
    bench: OneENI, listener: Listener
) -> None:
    element = Element("pods4", "10.98.0.11")
    for verb in (Verb.ADD, Verb.REMOVE):
        bench.node.run(apply_one, Operation(verb, element))
    bench.node.namespace.nft("add element inet openeni pods4 { 10.98.0.12 }")
    wait_for(lambda: listener.changes, "the member that somebody else has added")
    assert [change.verb for change in listener.changes] == [Verb.ADD]


def test_what_others_do_with_theirs_is_not_noticed(bench: OneENI, listener: Listener) -> None:
    node = bench.node.namespace
    node.ip(*OF_OTHERS, "rule add from 192.0.2.1 lookup 7 priority 7", "rule del priority 7")
    node.nft("add table inet theirs\nadd chain inet theirs openeni\n")
    node.sysctl("net/ipv4/conf/default/rp_filter", "1")
    assert listener.kinds() == []


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Kind]:
    """Return the kinds of the notifications that are decoded, as they come."""
    kinds: list[Kind] = []
    whole = module.change_of_link_or_route

    def change_of(kind: int, raw: bytes) -> Change | None:
        if change := whole(kind, raw):
            kinds.append(change.kind)
        return change

    monkeypatch.setattr(module, "change_of_link_or_route", change_of)
    return kinds


def test_links_addresses_routes_and_neighbours_of_others_are_not_even_decoded(
    decoded: list[Kind], bench: OneENI, listener: Listener
) -> None:
    bench.node.namespace.ip(*OF_OTHERS)
    assert listener.kinds() == []
    assert set(decoded) == {Kind.RULE}  # the sentinel


def test_an_add_is_not_even_decoded(
    decoded: list[Kind], bench: OneENI, pod: Namespace, listener: Listener
) -> None:
    bench.add(pod.path)
    assert listener.kinds() == []
    assert set(decoded) == {Kind.RULE}


def test_more_notifications_than_the_kernel_keeps_count_as_a_change(
    bench: OneENI, listener: Listener
) -> None:
    listener.proceed.clear()
    rule = f"lookup 7 protocol {names.PROTOCOL} priority"
    bench.node.namespace.ip(*[f"rule add from 192.0.2.1 {rule} {n}" for n in range(1, FLOOD)])
    listener.proceed.set()
    listener.wait(Kind.UNKNOWN, "the overrun")
    bench.node.namespace.ip(f"rule del priority {names.RULE_TO_POD}")
    listener.wait(Kind.RULE, "a change after the overrun")


def test_a_socket_that_breaks_is_opened_anew_and_counts_as_a_change(
    bench: OneENI, watching: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, failures = module.subscribed, [OSError(24, "Too many open files"), KeyError("port")]

    def breaking(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return whole(*arguments)

    monkeypatch.setattr(module, "subscribed", breaking)
    made = Listener(bench.node.namespace, watching)
    try:
        made.wait(Kind.UNKNOWN, "the third attempt")
        bench.node.namespace.ip(f"rule del priority {names.RULE_TO_POD}")
        made.wait(Kind.RULE, "a change")
    finally:
        made.close()


def test_one_failure_of_who_is_told_does_not_end_it(bench: OneENI, watching: Watched) -> None:
    changes: list[Change] = []

    def changed(change: Change) -> None:
        changes.append(change)
        if len(changes) == 2:
            raise RuntimeError("a bug")

    made = Subscription(lambda: watching, changed)
    bench.node.namespace.run(made.start)
    try:
        wait_for(lambda: changes, "the beginning")
        bench.node.namespace.ip(f"rule del priority {names.RULE_TO_POD}")
        wait_for(lambda: len(changes) >= 3, "that it begins anew")
        assert changes[-1].kind is Kind.UNKNOWN
    finally:
        made.close()


def test_after_its_end_nothing_is_left_and_nothing_is_reported(
    bench: OneENI, watching: Watched
) -> None:
    before = descriptors()
    made = Listener(bench.node.namespace, watching)
    made.wait(Kind.UNKNOWN, "the beginning")
    made.close()
    assert "notifications" not in [thread.name for thread in threading.enumerate()]
    assert descriptors() == before
    bench.node.namespace.ip(f"rule del priority {names.RULE_TO_POD}")
    assert made.changes == []
    made.close()  # again: no harm


def test_one_that_was_never_started_can_be_closed(watching: Watched) -> None:
    before = descriptors()
    Subscription(lambda: watching, print).close()
    assert descriptors() == before
