"""Root in an ipvlan pod with CAP_NET_ADMIN gives itself addresses that others are to get."""

import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from openeni_nodeagent.datapath.inside import slaves, taken_addresses
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.turns import TURNS
from openeni_nodeagent.datapath_api import DatapathError, NodeFacts, NodeReport
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, Pod, eni_facts
from openeni_testing.network.one_eni import MODES
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
OWN, NEXT, LAST = (("10.98.0.11", "fd98::11"), ("10.98.0.12", "fd98::12"), ("10.98.0.13",))
TAKE = (
    *(f"addr replace 10.98.0.{n}/32 dev eth0" for n in range(12, 20)),
    *(f"addr replace fd98::{n}/128 dev eth0 nodad" for n in range(12, 20)),
)
TAKE_6 = tuple(command for command in TAKE if "fd98::" in command)
NODES = ("10.99.0.77", "fd99::77", "169.254.20.77")


@pytest.fixture(params=MODES[1:])
def node(request: pytest.FixtureRequest) -> Generator[Node]:
    """Return a node with a pod that takes addresses, and addresses that no slave has yet."""
    network = NeutronNetwork()
    made = Node("node", network, "10.99.0.11", "fd99::11")
    eni = eni_facts("eni", 10, request.param, dual=True)
    port = made.attach("ens7", eni, (*OWN, *NEXT, *LAST))
    if request.param.ipvlan_mode == "L3":
        network.answer_arp(port)
    made.add("bad", eni, *OWN)
    made.namespace.ip(
        f"addr add {NODES[0]}/24 dev eth0",
        f"addr add {NODES[1]}/64 dev eth0 nodad",
        f"addr add {NODES[2]}/32 dev nodelocaldns",
    )
    yield made
    made.close()
    network.close()


@contextmanager
def taking_in_a_loop(pod: Pod) -> Generator[None]:
    batch = "\n".join(TAKE)
    loop = f"while :; do echo '{batch}' | ip -force -batch - 2>&-; echo; done"
    running = pod.namespace.run(
        partial(subprocess.Popen[bytes], ("sh", "-c", loop), stdout=subprocess.PIPE)
    )
    try:
        assert running.stdout
        assert running.stdout.read(1)  # all are taken
        yield
    finally:
        running.kill()
        running.communicate()


def look_for_node(node: Node) -> NodeReport:
    """Look once the Node shows two addresses more, and a local DNS runs."""
    return node.look(
        facts=NodeFacts(
            (*node.addresses, *NODES[:2]), node.service_cidrs, (*node.local_dns, NODES[2])
        )
    )


def rebuild(node: Node, pod: Pod) -> None:
    node.run(partial(node.datapath.add, rebuilds=True), pod.facts, pod.namespace.path)
    node.run(node.datapath.finish_add, pod.facts)


@pytest.mark.parametrize("commands", [TAKE, TAKE_6], ids=["both families", "IPv6"])
def test_the_next_pod_gets_them_and_the_one_that_took_them_is_built_again(
    node: Node, commands: tuple[str, ...]
) -> None:
    (bad,) = node.pods
    bad.namespace.ip(*commands)
    following = node.add("next", bad.facts.eni, *NEXT)
    report = node.look()
    assert (report.broken, report.errors) == (frozenset({bad.facts}), {})
    (repair,) = report.repairs
    assert repair.kind == "address"
    for named in (bad.facts.pod_uid, OWN[0], NEXT[1], following.facts.pod_uid):
        assert named in repair.text
    rebuild(node, bad)
    report = node.look(into=True)
    assert (report.broken, report.differing, report.repairs) == (frozenset(), {}, ())
    for own, its in zip(OWN, NEXT, strict=True):
        assert bad.namespace.ping(its)
        assert following.namespace.ping(own)


def test_a_loop_in_the_pod_keeps_no_pod_from_its_address(node: Node) -> None:
    (bad,) = node.pods
    with taking_in_a_loop(bad):
        following = node.add("next", bad.facts.eni, *NEXT)
        assert bad.facts in node.look().broken
        rebuild(node, bad)
        last = node.add("last", bad.facts.eni, *LAST)
    assert following.namespace.ping(LAST[0])
    assert last.namespace.ping(NEXT[0])


class Interrupted(Netlink):
    """Reads a namespace in which loops make and delete links."""

    def _dump_once(
        self, request: bytes, wanted: Callable[[bytes], object]
    ) -> tuple[list[bytes], bool]:
        answers, was = super()._dump_once(request, wanted)
        return answers, was or not self._is_settled


class Late(Netlink):
    """Reads a namespace in which that takes too long, after one read of each dump."""

    def __init__(self, *, limit: int | None = None, is_settled: bool = True) -> None:
        super().__init__(limit=limit, is_settled=is_settled)
        self._deadline = 0.0


@pytest.mark.parametrize("kind", [Interrupted, Late])
def test_loops_that_hold_up_what_is_read_of_the_pod_hide_none(
    node: Node, monkeypatch: pytest.MonkeyPatch, kind: type[Netlink]
) -> None:
    monkeypatch.setattr(slaves, "Netlink", kind)
    (bad,) = node.pods
    bad.namespace.ip(*TAKE)
    node.add("next", bad.facts.eni, *NEXT)
    assert node.look().broken == {bad.facts}


def test_one_that_has_taken_nothing_keeps_its_interface_however_long_it_takes_to_read(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may hold the kernel's rtnl lock."""
    monkeypatch.setattr(slaves, "Netlink", Late)
    (bad,) = node.pods
    following = node.add("next", bad.facts.eni, *NEXT)
    bad.namespace.ip(f"addr add {LAST[0]}/32 dev eth0")
    node.add("last", bad.facts.eni, *LAST)
    assert node.look().broken == {bad.facts}
    assert "eth0" in following.namespace.program("ip", "-br", "link")


def test_meanwhile_others_have_turns(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    (bad,) = node.pods
    bad.namespace.ip(*TAKE)
    find, turns = slaves.taken_by_slaves, vars(node.datapath)["_turns"]

    def beside_others(*arguments: Any) -> frozenset[str]:
        assert all(turns.acquire(blocking=False) for _ in range(TURNS))
        turns.release(TURNS)
        return find(*arguments)

    monkeypatch.setattr(taken_addresses, "taken_by_slaves", beside_others)
    node.add("next", bad.facts.eni, *NEXT)
    assert node.look().broken == {bad.facts}


def test_more_addresses_than_are_read_hide_none(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.datapath.inside.slaves.ENTRIES_IN_POD", 50)
    (bad,) = node.pods
    bad.namespace.ip(*(f"addr add 11.0.0.{n}/32 dev eth0" for n in range(60)), *TAKE)
    node.add("next", bad.facts.eni, *NEXT)
    assert node.look().broken == {bad.facts}


def test_what_nobody_needs_is_left_alone(node: Node) -> None:
    """An ADD that is refused for another reason has a look at the pods, too."""
    (bad,) = node.pods
    bad.namespace.ip("addr add 10.98.0.19/32 dev eth0")
    following = node.add("next", bad.facts.eni, *NEXT)
    node.run(node.datapath.add, following.facts, following.namespace.path)
    assert "10.98.0.19" in bad.namespace.program("ip", "addr")
    report = node.look(into=True)
    assert (report.broken, report.repairs, report.differing) == (frozenset(), (), {})


def test_what_another_pod_has_by_a_grant_is_not_taken(node: Node) -> None:
    """Two journals may have one address; the first pod keeps it."""
    (first,) = node.pods
    with pytest.raises(DatapathError):
        node.add("second", first.facts.eni, *OWN)
    report = node.look(into=True)
    assert (report.broken, report.differing) == (frozenset(), {})
    assert OWN[0] in first.namespace.program("ip", "addr")


def test_a_pod_that_only_a_look_has_shown_is_found(node: Node) -> None:
    """The agent was started again."""
    (bad,) = node.pods
    bad.namespace.ip(*TAKE)
    node.datapath = type(node.datapath)()
    node.look(into=True)
    node.add("next", bad.facts.eni, *NEXT)
    assert node.look().broken == {bad.facts}


@pytest.mark.parametrize("node", MODES[2:], indirect=True)
def test_the_nodes_slave_gets_the_nodes_addresses(node: Node) -> None:
    (bad,) = node.pods
    bad.namespace.ip(*(f"addr add {a}/{'128 nodad' if ':' in a else '32'} dev eth0" for a in NODES))
    report = look_for_node(node)
    assert (report.errors, report.left, report.broken) == ({}, "", frozenset({bad.facts}))
    host_slave = node.namespace.program("ip", "addr", "show", "type", "ipvlan")
    assert all(f" {address}/" in host_slave for address in NODES)
    (repair,) = (r for r in report.repairs if "the node" in r.text)
    assert all(address in repair.text for address in NODES)
    rebuild(node, bad)
    report = look_for_node(node)
    assert (report.errors, report.left, report.broken) == ({}, "", frozenset())
    assert bad.namespace.ping(NODES[0])


@pytest.mark.parametrize("node", MODES[2:], indirect=True)
def test_what_a_slave_out_of_sight_has_taken_is_named(node: Node) -> None:
    (bad,) = node.pods
    with Namespace("hidden") as hidden:
        bad.namespace.ip(f"link set eth0 netns {hidden.path}")
        hidden.ip(f"addr add {NODES[0]}/32 dev eth0")
        assert NODES[0] in str(look_for_node(node).errors[bad.facts.eni.name])
    wait_for(lambda: not look_for_node(node).errors, "the slave has gone with its namespace")
