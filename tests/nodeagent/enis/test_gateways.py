"""An ENI's gateways are asked, and a condition says what they have answered."""

from pathlib import Path
from typing import Any

import pytest

from openeni_crds import names
from openeni_crds.conditions import Condition, Reason, Type, find, is_true
from openeni_crds.eni import ENI
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_crds.meta import Json, decode
from openeni_crds.names import Kind
from openeni_kube.result import Done, RequeueAfter
from openeni_kube.store import StoreError
from openeni_nodeagent.enis import gateways
from openeni_nodeagent.enis.gateways import (
    ANSWER_SECONDS,
    ASK_PERIOD_SECONDS,
    CONFIRM_SECONDS,
    LISTEN_SECONDS,
    SILENT_PERIOD_SECONDS,
    SILENT_SECONDS,
    GatewayReconciler,
)
from openeni_testing.agent import node_objects
from openeni_testing.agent.clock import Clock
from openeni_testing.agent.host import MemoryGateways
from openeni_testing.agent.parts import AgentParts

GATEWAY, NAME = "10.98.0.1", "pods-0"
L3 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L3))
SPARE = node_objects.addresses(3)[-1]


class Node:
    """The parts of an agent with one ENI, and its gateways; time passes by hand."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, datapath: Datapath = node_objects.VETH
    ) -> None:
        self.parts = parts = AgentParts(folder)
        node_objects.make_pool(parts.store, datapath=datapath)
        node_objects.make_eni(parts.store, datapath=datapath)
        node_objects.write_operator_status(parts.store, count=3)
        parts.sync()
        self.gateways, self.clock = MemoryGateways(), Clock.of(monkeypatch, gateways)
        self.reconciler = GatewayReconciler(
            parts.caches.enis, parts.grants, parts.links, self.gateways
        )

    def turn(self) -> float:
        """Ask once; return the seconds until the next time, and let them pass."""
        result = self.reconciler.reconcile(NAME)
        assert isinstance(result, RequeueAfter)
        self.clock.now += result.seconds
        return result.seconds

    def told(self) -> Condition | None:
        """Return the condition that the ENI shows."""
        self.parts.eni_publisher().reconcile(NAME)
        eni = decode(self.parts.store.get(names.ENIS, NAME), ENI)
        self.parts.sync(look=False)
        return find(eni.status.conditions, Type.GATEWAY_REACHABLE)

    def reason(self) -> str:
        told = self.told()
        return told.reason if told else ""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch)


def test_a_gateway_that_answers_is_asked_again_each_half_minute(fake: Node) -> None:
    assert fake.reason() == ""
    assert [fake.turn(), fake.turn()] == [ASK_PERIOD_SECONDS] * 2
    assert fake.gateways.asked == [GATEWAY] * 2
    assert fake.reason() == Reason.REACHABLE


def test_one_that_does_not_answer_is_told_after_some_seconds_until_it_does(fake: Node) -> None:
    """The kernel forgets one that did not answer, and begins anew with each packet of a pod."""
    node = fake
    node.gateways.silent.add(GATEWAY)
    begun = node.clock.now
    while not node.told():
        assert node.turn() <= ASK_PERIOD_SECONDS
    assert SILENT_SECONDS <= node.clock.now - begun <= SILENT_SECONDS + 2 * SILENT_PERIOD_SECONDS
    told = node.told()
    assert told is not None
    assert (told.status, told.reason) == ("False", Reason.GATEWAY_UNREACHABLE)
    assert told.message == f"no answer from {GATEWAY}: pods reach nothing beyond 10.98.0.0/24"
    assert node.parts.links.is_link_ready(NAME)  # pods start
    node.gateways.silent.clear()
    node.turn()
    assert node.reason() == Reason.REACHABLE


def test_an_answer_that_somebody_has_the_kernel_forget_at_once_is_an_answer(fake: Node) -> None:
    """`ip neigh flush` each half second: what was there in between counts, and when it was."""
    for seconds in (SILENT_SECONDS, ASK_PERIOD_SECONDS):
        fake.gateways.silent.add(GATEWAY)
        assert fake.turn() == ANSWER_SECONDS
        fake.gateways.silent.clear()
        assert fake.turn() == ASK_PERIOD_SECONDS
        assert fake.reason() == Reason.REACHABLE
        fake.clock.now += seconds


def test_one_that_did_not_answer_is_asked_again_soon_and_given_its_time_again(fake: Node) -> None:
    fake.gateways.silent.add(GATEWAY)
    while fake.turn() != SILENT_PERIOD_SECONDS:
        assert fake.told() is None
    assert fake.reason() == Reason.GATEWAY_UNREACHABLE
    assert fake.turn() == ANSWER_SECONDS


def test_nothing_is_said_of_one_whose_mac_somebody_has_set(fake: Node) -> None:
    """It may be right: but nobody has answered, and nobody is asked."""
    fake.turn()
    assert fake.reason() == Reason.REACHABLE
    fake.gateways.fixed.add(GATEWAY)
    assert (fake.turn(), fake.told()) == (ASK_PERIOD_SECONDS, None)


def test_what_was_said_of_one_stays_while_it_is_asked_again(fake: Node) -> None:
    node = fake
    node.turn()
    node.gateways.stale.add(GATEWAY)
    assert [node.turn() for _ in range(4)] == [CONFIRM_SECONDS] * 4
    assert node.reason() == Reason.REACHABLE
    node.gateways.silent.add(GATEWAY)
    while node.reason() == Reason.REACHABLE:
        node.turn()
    node.gateways.silent.clear()
    node.turn()
    assert node.reason() == Reason.GATEWAY_UNREACHABLE  # it has not answered since


def test_an_eni_whose_link_is_not_ready_says_nothing_of_gateways(fake: Node) -> None:
    node = fake
    node.turn()
    node.parts.datapath.nics.clear()
    node.parts.look()
    assert node.told() is None
    assert node.reconciler.reconcile(NAME) == Done()
    assert node.told() is None


def test_an_agent_that_finds_a_link_before_its_eni_asks_once_it_has_it(fake: Node) -> None:
    """At its start the first look needs no API server; the link does not change any more."""
    (eni,) = fake.parts.caches.enis.all()
    body = fake.parts.store.get(names.ENIS, NAME)
    fake.parts.caches.enis.remove({"metadata": {"name": NAME, "uid": eni.metadata.uid}})
    assert (fake.turn(), fake.gateways.asked) == (CONFIRM_SECONDS, [])
    fake.parts.caches.enis.put(body)
    assert (fake.turn(), fake.gateways.asked) == (ASK_PERIOD_SECONDS, [GATEWAY])


def test_policies_of_the_release_before_refuse_the_condition_alone(
    fake: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `helm rollback` they are there at once, and the agents are replaced one by one."""
    fake.turn()
    apply = fake.parts.store.apply

    def guarded(kind: Kind, body: Json, **how: Any) -> Json:
        if any(c["type"] == Type.GATEWAY_REACHABLE for c in body["status"]["conditions"]):
            raise StoreError(403, "status.conditions: an agent writes others")
        return apply(kind, body, **how)

    monkeypatch.setattr(fake.parts.store, "apply", guarded)
    assert not fake.told()
    eni = decode(fake.parts.store.get(names.ENIS, NAME), ENI)
    assert is_true(eni.status.conditions, Type.LINK_READY)


@pytest.fixture
def l3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    return Node(tmp_path, monkeypatch, L3)


@pytest.mark.parametrize(("asks", "reason"), [(True, "ARPUnanswered"), (False, "Reachable")])
def test_l3_needs_a_network_that_answers_for_its_pods(l3: Node, reason: str, *, asks: bool) -> None:
    l3.gateways.asks_for |= {SPARE} if asks else set()
    assert [l3.turn(), l3.reason(), l3.turn(), l3.reason()] == [
        LISTEN_SECONDS,
        "",
        ASK_PERIOD_SECONDS,
        reason,
    ]
    assert l3.gateways.listening == []


def test_whether_the_network_answers_for_pods_does_not_depend_on_the_gateways_mac(l3: Node) -> None:
    l3.gateways.fixed.add(GATEWAY)
    l3.gateways.asks_for.add(SPARE)
    assert (l3.turn(), l3.turn()) == (LISTEN_SECONDS, ASK_PERIOD_SECONDS)
    assert l3.reason() == Reason.ARP_UNANSWERED


def test_whatever_wakes_it_meanwhile_it_listens_to_the_end(l3: Node) -> None:
    """A new ENI of the node has all others asked at once."""
    assert l3.turn() == LISTEN_SECONDS
    l3.clock.now -= LISTEN_SECONDS - 1
    assert l3.turn() == LISTEN_SECONDS - 1
    assert l3.told() is None
    assert (l3.turn(), l3.reason()) == (ASK_PERIOD_SECONDS, Reason.REACHABLE)


def test_what_is_heard_ends_with_what_was_asked(l3: Node) -> None:
    """The link or the ENI may be another one next time, and the socket would stay open."""
    l3.turn()
    l3.parts.datapath.nics.clear()
    l3.parts.look()
    assert l3.reconciler.reconcile(NAME) == Done()
    assert l3.gateways.listening == []


def test_where_every_address_has_a_pod_l3_is_not_judged(l3: Node) -> None:
    """ipvlan hands ARP requests for a pod's address to the pod."""
    l3.gateways.asks_for |= set(node_objects.addresses(3))
    l3.turn()
    for number in range(3):
        l3.parts.grant(f"web-{number}", f"c{number}")
    assert (l3.turn(), l3.reason()) == (ASK_PERIOD_SECONDS, Reason.REACHABLE)
    assert l3.gateways.listening == []


def test_addresses_that_the_node_gives_up_are_asked_for_by_nobody(l3: Node) -> None:
    """They may be another port's already, while this node does not hear of it."""
    retiring = [{"op": "add", "path": "/spec/retiring", "value": [SPARE]}]
    l3.parts.store.patch(names.ENIS, NAME, operations=retiring)
    l3.parts.sync()
    l3.turn()
    (listener,) = l3.gateways.listening
    assert listener.spare == node_objects.addresses(3)[-2]
