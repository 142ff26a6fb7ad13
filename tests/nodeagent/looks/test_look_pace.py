"""How soon a change that others make is looked at, and how much of the time looks may take."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_kube.result import RequeueAfter, Retry
from openeni_nodeagent.datapath_api import (
    ENIFacts,
    Hold,
    KernelRefusedError,
    NodeReport,
    NodeSnapshot,
    PodInterface,
    WantedNode,
)
from openeni_nodeagent.looks import datapath_reconciler, look_pace, pod_looks
from openeni_nodeagent.looks.datapath_reconciler import SOON_SECONDS
from openeni_nodeagent.looks.look_pace import (
    COALESCE_SECONDS,
    LOOK_CREDIT_SECONDS,
    LOOK_SHARE,
    SETTLE_SECONDS,
)
from openeni_nodeagent.looks.pod_looks import LOOK_PERIOD_SECONDS, REBUILDS
from openeni_testing.agent import node_objects
from openeni_testing.agent.clock import Clock
from openeni_testing.agent.parts import NODE_FACTS, AgentParts

TOOK = 0.5  # seconds of each look


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.of(monkeypatch, datapath_reconciler, look_pace, pod_looks)


@pytest.fixture
def parts(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects()
    observe = made.datapath.observe

    def slow(enis: Collection[ENIFacts]) -> NodeSnapshot:
        clock.now += TOOK
        return observe(enis)

    monkeypatch.setattr(made.datapath, "observe", slow)
    return made


def test_a_change_after_a_while_is_looked_at_at_once(parts: AgentParts, clock: Clock) -> None:
    parts.look()
    clock.now += TOOK / LOOK_SHARE
    assert parts.looks.pace.delay() == COALESCE_SECONDS


def test_a_change_just_after_a_periodic_look_is_looked_at_at_once(
    parts: AgentParts, clock: Clock
) -> None:
    for _ in range(3):
        clock.now += LOOK_PERIOD_SECONDS
        parts.look()
    assert parts.looks.pace.delay() == COALESCE_SECONDS


def test_changes_in_a_row_get_no_more_than_their_share(parts: AgentParts, clock: Clock) -> None:
    clock.now += LOOK_PERIOD_SECONDS  # what looks did not take then is not theirs for ever
    begun = clock.now
    for _ in range(10):
        clock.now += parts.looks.pace.delay()
        parts.look()
    assert (
        10 * TOOK / (LOOK_CREDIT_SECONDS + clock.now + parts.looks.pace.delay() - begun)
        <= LOOK_SHARE
    )


@pytest.mark.parametrize("looks", [3, 300])
def test_looks_for_other_reasons_delay_a_change_by_two_of_them_at_most(
    parts: AgentParts, clock: Clock, looks: int
) -> None:
    for _ in range(looks):
        clock.now += SOON_SECONDS
        parts.look()
    assert parts.looks.pace.delay() <= 2 * TOOK / LOOK_SHARE


@pytest.mark.parametrize(("changes", "seconds"), [(1, 0.1), (3, 0.25), (100, 0.5)])
def test_changes_that_go_on_are_looked_at_once_they_have_settled(
    parts: AgentParts, clock: Clock, changes: int, seconds: float
) -> None:
    begun = looked = clock.now
    between, left = 0.75 * COALESCE_SECONDS, changes
    while parts.looks.pace.took == 0:
        if left > 0:
            parts.looks.pace.changed()
            left -= 1
        looked = clock.now
        parts.look()
        clock.now += between if left > 0 else 0.01
    assert looked - begun == pytest.approx(seconds, abs=between)
    assert looked - begun <= SETTLE_SECONDS + between


def test_a_look_between_changes_forgets_no_pod(parts: AgentParts, clock: Clock) -> None:
    """It was to be looked into, and is at the look that follows."""
    pod = parts.grant("web", "web")
    parts.look()
    parts.looks.look_into(pod.attachment)
    parts.looks.pace.changed()
    asked_for = parts.look()
    assert isinstance(asked_for, RequeueAfter)
    clock.now += asked_for.seconds
    parts.look()
    assert parts.datapath.looked_into.keys() == {"web"}


def test_a_pod_that_has_a_call_running_is_left_to_the_next_look_which_looks_into_none(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = parts.grant("web", "web")
    parts.look()
    wanted: list[WantedNode] = []
    reconcile = parts.datapath.reconcile

    def noting(snapshot: NodeSnapshot, node: WantedNode, hold: Hold) -> NodeReport:
        wanted.append(node)
        return reconcile(snapshot, node, hold)

    monkeypatch.setattr(parts.datapath, "reconcile", noting)
    parts.datapath.lose(pod.addresses[0])
    with parts.locks.locked("web"):
        assert parts.look() == Retry("the pod has no route")
    parts.look()
    assert pod.addresses[0] in parts.datapath.pods()
    assert [[each.netns for each in node.pods] for node in wanted] == [[""], [""]]


@pytest.mark.parametrize("refused", [False, True])
def test_a_pod_that_breaks_its_datapath_each_time_is_built_again_a_few_times_in_a_period(
    parts: AgentParts, clock: Clock, refused: bool
) -> None:
    """Whether or not it can be. Its NIC may be plugged again more than once."""
    pod = parts.grant("web", "web")
    (address,) = pod.addresses
    parts.look()
    tried: list[PodInterface] = []

    def try_to_build(pod: PodInterface) -> None:
        tried.append(pod)
        if refused:
            raise KernelRefusedError("eth0 is another link")

    def rebuilds(deletions: int) -> int:
        """Return how often it is tried while the pod deletes its link so many times."""
        before = len(tried)
        for _ in range(deletions):
            if address in parts.datapath.pods():
                parts.datapath.lose(address)
            clock.now += parts.looks.pace.delay()
            parts.look()
        return len(tried) - before

    parts.datapath.before_add = try_to_build
    assert rebuilds(REBUILDS + 2) == REBUILDS
    assert parts.datapath.announced == ([] if refused else [pod.addresses] * REBUILDS)
    assert parts.looks.difference(pod.attachment) is not None
    clock.now += LOOK_PERIOD_SECONDS
    assert rebuilds(REBUILDS + 2) == REBUILDS


def test_a_pod_is_built_again_as_often_as_its_nic_is_plugged_again(
    parts: AgentParts, clock: Clock
) -> None:
    """That is not the pod's own doing."""
    pod = parts.grant("web", "web")
    (address,) = pod.addresses
    parts.look()
    for _ in range(2 * REBUILDS):
        parts.datapath.plugged[node_objects.mac(0)] += 1
        parts.datapath.lose(address)
        clock.now += parts.looks.pace.delay()
        parts.look()
        assert address in parts.datapath.pods()


def test_pods_whose_slaves_were_disturbed_are_looked_into_soon(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.grant("web", "web")
    parts.look()
    reconcile = parts.datapath.reconcile

    def disturbed(snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        pods = frozenset(pod.interface for pod in wanted.pods)
        return replace(reconcile(snapshot, wanted, hold), disturbed=pods)

    with monkeypatch.context() as patched:
        patched.setattr(parts.datapath, "reconcile", disturbed)
        assert parts.look() == RequeueAfter(SOON_SECONDS)
    parts.datapath.looked_into.clear()
    parts.look()
    assert parts.datapath.looked_into.keys() == {"web"}


def test_whatever_ends_a_look_the_next_one_looks_into_all_pods(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder, for one, meets what somebody has put into the kernel."""
    parts.grant("web", "web")
    parts.look()
    parts.datapath.looked_into.clear()

    def fail(enis: Collection[ENIFacts]) -> NodeSnapshot:
        raise TypeError(enis)

    with monkeypatch.context() as patched:
        patched.setattr(parts.datapath, "observe", fail)
        assert isinstance(parts.looks.look(), Retry)
    parts.looks.look()
    assert parts.datapath.looked_into.keys() == {"web"}


@pytest.mark.parametrize("readdressed", [False, True])
def test_pods_are_looked_into_when_the_node_has_other_addresses(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch, readdressed: bool
) -> None:
    """Routes in pods lead to these."""
    parts.grant("web", "web")
    parts.look()
    parts.datapath.looked_into.clear()
    reconcile = parts.datapath.reconcile

    def reported(snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        return replace(reconcile(snapshot, wanted, hold), readdressed=readdressed)

    with monkeypatch.context() as patched:
        patched.setattr(parts.datapath, "reconcile", reported)
        parts.look()
    assert parts.datapath.looked_into == {}
    parts.look()
    assert parts.datapath.looked_into.keys() == ({"web"} if readdressed else set())


def test_an_agent_listens_before_it_looks_into_pods(parts: AgentParts) -> None:
    """How much there is to read is theirs to choose."""
    parts.grant("web", "web")
    again = parts.restarted()
    parts.datapath.looked_into.clear()
    again.looks.first_look(NODE_FACTS)
    assert parts.datapath.looked_into == {}
    again.look()
    assert parts.datapath.looked_into.keys() == {"web"}


def test_a_pod_is_looked_into_once_its_nic_is_there(parts: AgentParts) -> None:
    """And no look is sooner for that: the NIC may be missing for long."""
    parts.grant("web", "web")
    parts.look()
    mac = parts.datapath.nics.pop()
    parts.datapath.looked_into.clear()
    parts.looks.look_into(parts.grants.all()[0].attachment)
    parts.looks.look()
    assert parts.datapath.looked_into == {}
    parts.looks.look()
    parts.datapath.nics.add(mac)
    parts.looks.look()
    assert parts.datapath.looked_into.keys() == {"web"}
