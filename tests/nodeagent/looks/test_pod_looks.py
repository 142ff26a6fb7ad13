"""Looks into pods' own namespaces that fail, and pods that are being built meanwhile."""

from dataclasses import replace
from pathlib import Path

import pytest

from openeni_crds.conditions import Reason
from openeni_kube.result import RequeueAfter, Result, Retry
from openeni_nodeagent.datapath_api import Hold, NodeReport, NodeSnapshot, WantedNode
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_nodeagent.looks.datapath_reconciler import SOON_SECONDS
from openeni_nodeagent.looks.pod_looks import LOOK_PERIOD_SECONDS
from openeni_nodeagent.reports.podip_body import Difference
from openeni_testing.agent.clock import Clock
from openeni_testing.agent.parts import NODE_FACTS, AgentParts

FULL = "more than 2000 entries"
DIFFERENCE = Difference(Reason.KERNEL_REFUSED, FULL)


@pytest.fixture
def full(parts: AgentParts, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The containers with too many entries to be looked into, which the test changes."""
    containers: set[str] = set()
    reconcile = parts.datapath.reconcile

    def failing(snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        report = reconcile(snapshot, wanted, hold)
        failed = {pod: FULL for pod in report.looked_into if pod.container_id in containers}
        return replace(
            report,
            looked_into={**report.looked_into, **failed},
            differing={**report.differing, **failed},
        )

    monkeypatch.setattr(parts.datapath, "reconcile", failing)
    return containers


@pytest.fixture
def slow(parts: AgentParts, full: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look into a pod where that has failed takes longer than further ones may begin."""
    reconcile = parts.datapath.reconcile

    def of_first(snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        before = parts.datapath.looked_into.copy()
        report = reconcile(snapshot, wanted, hold)
        left = {pod.interface for pod in wanted.pods if pod.turn > 1}
        for pod in left:
            parts.datapath.looked_into.pop(pod.container_id, None)
        parts.datapath.looked_into |= before
        looked_into = {pod: why for pod, why in report.looked_into.items() if pod not in left}
        differing = {pod: why for pod, why in report.differing.items() if pod not in left}
        return replace(report, looked_into=looked_into, differing=differing)

    monkeypatch.setattr(parts.datapath, "reconcile", of_first)


def fail_to_look_into(parts: AgentParts, full: set[str], *containers: str) -> list[Grant]:
    """Grant pods, and look into each in vain."""
    pods = [parts.grant(name, name) for name in containers]
    parts.look()
    full |= {*containers}
    for pod in pods:
        parts.looks.look_into(pod.attachment)
    parts.look()
    return pods


def test_a_pod_that_could_not_be_looked_into_is_looked_into_again_a_period_later(
    parts: AgentParts, clock: Clock, full: set[str]
) -> None:
    """What it has too much of may have gone. A look for another reason leaves it alone."""
    pod = parts.grant("web", "web")
    parts.look()
    full.add("web")
    parts.looks.look_into(pod.attachment)
    assert parts.look() == Retry(FULL)
    full.clear()
    for passed, looked_into in (
        (1.0, set[str]()),
        (LOOK_PERIOD_SECONDS, {"web"}),
        (LOOK_PERIOD_SECONDS, set[str]()),
    ):
        clock.now += passed
        parts.datapath.looked_into.clear()
        assert parts.look() == RequeueAfter(LOOK_PERIOD_SECONDS)
        assert parts.datapath.looked_into.keys() == looked_into


@pytest.mark.usefixtures("slow")
def test_it_is_also_while_looks_into_another_pod_fail_again_and_again(
    parts: AgentParts, clock: Clock, full: set[str]
) -> None:
    pods = fail_to_look_into(parts, full, "web", "hostile")
    full.remove("web")
    parts.datapath.looked_into.clear()
    for _ in range(3):
        clock.now += LOOK_PERIOD_SECONDS / 3
        parts.looks.look_into(pods[1].attachment)  # its link was built again
        parts.look()
    assert parts.datapath.looked_into.keys() == {"web"}
    parts.look()
    assert parts.datapath.looked_into.keys() == {"web", "hostile"}


@pytest.mark.usefixtures("slow")
def test_of_pods_where_looks_have_failed_each_has_its_turn_however_long_they_take(
    parts: AgentParts, clock: Clock, full: set[str]
) -> None:
    """Root in the pod decides that: no other part of the node waits for all."""
    fail_to_look_into(parts, full, "a", "b", "c")
    clock.now += LOOK_PERIOD_SECONDS
    full.clear()
    for name, wait in (("a", SOON_SECONDS), ("b", SOON_SECONDS), ("c", LOOK_PERIOD_SECONDS)):
        parts.datapath.looked_into.clear()
        assert parts.look() == RequeueAfter(wait)
        assert parts.datapath.looked_into.keys() == {name}


def test_if_they_take_no_time_all_are_looked_into_at_once(
    parts: AgentParts, clock: Clock, full: set[str]
) -> None:
    """Nothing could be read for a moment: the agent had no file descriptor left, say."""
    fail_to_look_into(parts, full, "a", "b", "c")
    clock.now += LOOK_PERIOD_SECONDS
    full.clear()
    parts.datapath.looked_into.clear()
    assert parts.look() == RequeueAfter(LOOK_PERIOD_SECONDS)
    assert parts.datapath.looked_into.keys() == {"a", "b", "c"}


@pytest.mark.parametrize("ask_all", [False, True])
def test_one_that_no_look_can_look_into_keeps_no_other_from_its_turn(
    parts: AgentParts,
    clock: Clock,
    full: set[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    ask_all: bool,
) -> None:
    """Its ENI is in error, or its interface is gone. Nor has it looks come each second."""
    fail_to_look_into(parts, full, "a", "b")
    reconcile = parts.datapath.reconcile

    def without_a(snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        served = tuple(pod for pod in wanted.pods if pod.interface.container_id != "a")
        return reconcile(snapshot, replace(wanted, pods=served), hold)

    monkeypatch.setattr(parts.datapath, "reconcile", without_a)
    full.clear()
    clock.now += LOOK_PERIOD_SECONDS
    parts.datapath.looked_into.clear()
    results: list[Result] = []
    for _ in range(3):
        if ask_all:
            parts.looks.set_node(replace(NODE_FACTS, service_cidrs=(f"10.{clock.now:.0f}.0.0/16",)))
        results.append(parts.look())
        clock.now += SOON_SECONDS
    assert parts.datapath.looked_into.keys() == {"b"}
    assert results[-1] == RequeueAfter(LOOK_PERIOD_SECONDS)


@pytest.mark.usefixtures("slow")
def test_who_asks_for_all_asks_for_those_where_it_has_failed_in_their_turn(
    parts: AgentParts, clock: Clock, full: set[str]
) -> None:
    parts.grant("c", "c")
    fail_to_look_into(parts, full, "a", "b")
    full.clear()
    found: list[set[str]] = []
    for seconds in (SOON_SECONDS, LOOK_PERIOD_SECONDS):
        clock.now += seconds
        parts.datapath.looked_into.clear()
        parts.looks.set_node(replace(NODE_FACTS, service_cidrs=(f"10.{len(found)}.0.0/16",)))
        parts.look()
        found.append({*parts.datapath.looked_into})
    assert found == [{"c"}, {"a", "c"}]


def test_a_pod_is_not_ready_until_it_could_be_looked_into(
    parts: AgentParts, clock: Clock, full: set[str]
) -> None:
    pod = parts.grant("web", "web")
    parts.look()
    full.add("web")
    parts.looks.look_into(pod.attachment)
    for _ in range(100):
        parts.look()
        assert parts.looks.difference(pod.attachment) == DIFFERENCE
        clock.now += SOON_SECONDS
    full.clear()
    clock.now += LOOK_PERIOD_SECONDS
    parts.look()
    assert parts.looks.difference(pod.attachment) is None


def test_a_pod_whose_namespace_has_no_path_is_not_ready_until_it_has_one_again(
    parts: AgentParts, clock: Clock
) -> None:
    pod = parts.grant("web", "web")
    path = Path(pod.netns)
    aside = path.rename(path.with_name("aside"))
    parts.looks.look_into(pod.attachment)
    for _ in range(3):
        parts.look()
        found = parts.looks.difference(pod.attachment)
        assert found is not None
        assert found.message.startswith(f"{path} no longer leads to the pod's network namespace")
        clock.now += LOOK_PERIOD_SECONDS
    aside.rename(path)
    parts.look()
    assert parts.looks.difference(pod.attachment) is None


def test_another_sandbox_of_that_pod_is_ready(parts: AgentParts, full: set[str]) -> None:
    (pod,) = fail_to_look_into(parts, full, "web")
    parts.detacher.end(pod, EndReason.DELETED)
    parts.look()
    again = parts.grant("web", "web", pod.attachment.pod_uid)
    parts.look()
    assert parts.looks.difference(again.attachment) is None
