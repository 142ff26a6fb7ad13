"""What the holder of an agent's token may try on Events, and what an agent records of its own."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from openeni_crds.meta import Json, ObjectMeta
from openeni_crds.names import (
    CONTROLLER_AGENT,
    CONTROLLER_OPERATOR,
    EVENTS,
    MANAGER_AGENT,
    NODES,
    PODS,
)
from openeni_kube.client import KubeStore
from openeni_kube.event_series import EventType, Reporter
from openeni_kube.events import EventRecorder
from openeni_kube.store import StoreError
from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_nodeagent.attachments import pod_events
from openeni_nodeagent.event_reasons import NodeReason, PodReason
from openeni_testing.admission.target import Target
from openeni_testing.admission.writes import put
from openeni_testing.objects import unique

pytestmark = pytest.mark.cluster

Attempt = Callable[[Target], object]
OWN: Final = "an agent records Events of its own reasons"
WHO: Final = "reportingController, reportingInstance: an agent records as openeni.io/agent"
WHOLE: Final = "related, regarding: an agent's Event is about one whole object"


def event(t: Target, **changed: Any) -> Json:
    """Return an Event as n1's agent records it about a pod, changed."""
    pod = t.mine.pod["metadata"]
    made: Json = {
        "apiVersion": "events.k8s.io/v1",
        "kind": EVENTS.name,
        "metadata": {"name": unique("event"), "namespace": t.space},
        "eventTime": "2026-11-24T01:02:03.000004Z",
        "reportingController": CONTROLLER_AGENT,
        "reportingInstance": t.mine.node,
        "action": pod_events.ACTION,
        "reason": str(PodReason.NO_ENI_READY),
        "regarding": {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": t.space,
            "name": pod["name"],
            "uid": pod["uid"],
        },
        "note": "no address",
        "type": "Warning",
    }
    return made | changed


def create(**changed: Any) -> Attempt:
    return lambda t: t.agent.create(EVENTS, event(t, **changed))


def with_meta(**fields: Any) -> Attempt:
    def do(t: Target) -> object:
        body = event(t)
        body["metadata"].update(fields)
        return t.agent.create(EVENTS, body)

    return do


def about(**changed: Any) -> Attempt:
    def do(t: Target) -> object:
        body = event(t)
        body["regarding"] |= changed
        return t.agent.create(EVENTS, body)

    return do


def about_node(side: str, reason: str) -> Attempt:
    def do(t: Target) -> object:
        node = getattr(t, side).node
        body = event(t, reason=reason)
        body["metadata"]["namespace"] = "default"
        body["regarding"] = {"apiVersion": "v1", "kind": "Node", "name": node, "uid": "1"}
        return t.agent.create(EVENTS, body)

    return do


def of_another_node(t: Target) -> object:
    return t.agent.create(EVENTS, event(t, reportingInstance=t.other.node))


def changes(path: str, value: Any, **of: Any) -> Attempt:
    """Patch an Event that somebody else has recorded with these fields."""

    def do(t: Target) -> object:
        made = t.admin.create(EVENTS, event(t, **of))["metadata"]
        return t.agent.patch(EVENTS, made["name"], t.space, operations=put(path, value))

    return do


COUNT: Final[Json] = {"count": 2, "lastObservedTime": "2026-11-24T01:02:04.000004Z"}
CASES = [
    pytest.param(create(reportingController="kubelet"), WHO, id="as the kubelet"),
    pytest.param(create(reportingController=CONTROLLER_OPERATOR), WHO, id="as the operator"),
    pytest.param(of_another_node, WHO, id="as another node's agent"),
    pytest.param(create(reason="Killing"), OWN, id="another's reason"),
    pytest.param(create(reason=str(NodeReason.REPAIRS_REPEATED)), OWN, id="a Node's reason"),
    pytest.param(about(kind="Secret"), OWN, id="about a Secret"),
    pytest.param(about(apiVersion="example.com/v1"), OWN, id="about another kind's Pod"),
    pytest.param(
        about_node("other", str(NodeReason.REPAIRS_REPEATED)), OWN, id="about another Node"
    ),
    pytest.param(about_node("mine", str(PodReason.NO_POOL)), OWN, id="a pod's reason on a Node"),
    pytest.param(about(fieldPath="spec.containers{main}"), WHOLE, id="about a container"),
    pytest.param(
        create(related={"apiVersion": "v1", "kind": "Node", "name": "x"}), WHOLE, id="related"
    ),
    pytest.param(
        with_meta(finalizers=["evil.example/forever"]),
        "metadata.finalizers: a new Event has none",
        id="a finalizer",
    ),
    pytest.param(
        with_meta(labels={"a": "b"}), "metadata.labels: a new Event has none", id="a label"
    ),
    pytest.param(
        with_meta(ownerReferences=[{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1"}]),
        "metadata.ownerReferences: a new Event has none",
        id="an owner",
    ),
    pytest.param(
        changes("/series", COUNT, reportingController="kubelet"), WHO, id="the kubelet's count"
    ),
    pytest.param(
        changes("/metadata/finalizers", ["evil.example/forever"]),
        f"metadata.finalizers: {OWN}",
        id="a finalizer added",
    ),
    pytest.param(
        changes("/metadata/annotations", {"a": "b"}),
        f"metadata.annotations: {OWN}",
        id="an annotation added",
    ),
]


def stored(t: Target) -> list[Json]:
    """Return the Events about the target's pods and nodes."""
    nodes = {t.mine.node, t.other.node}
    return [
        body
        for body in t.admin.list(EVENTS).items
        if body["metadata"]["namespace"] == t.space or body["regarding"].get("name") in nodes
    ]


@pytest.fixture(autouse=True)
def _no_events(cluster: Any) -> Any:
    yield
    for body in cluster.admin.list(EVENTS).items:
        meta = body["metadata"]
        cluster.admin.patch(
            EVENTS, meta["name"], meta["namespace"], operations=put("/metadata/finalizers", [])
        )
        cluster.admin.delete(EVENTS, meta["name"], meta["namespace"])


@pytest.mark.parametrize(("attempt", "_words"), CASES)
def test_without_the_policies_it_succeeds(unguarded: Target, attempt: Attempt, _words: str) -> None:
    before = stored(unguarded)
    attempt(unguarded)
    assert stored(unguarded) != before


@pytest.mark.parametrize(("attempt", "words"), CASES)
def test_with_the_policies_it_is_refused(guarded: Target, attempt: Attempt, words: str) -> None:
    with pytest.raises(StoreError, match=words) as raised:
        attempt(guarded)
    assert "ValidatingAdmissionPolicy 'openeni-agent-events'" in raised.value.message


def test_an_agent_may_delete_no_event(guarded: Target) -> None:
    made = guarded.agent.create(EVENTS, event(guarded))["metadata"]
    with pytest.raises(StoreError, match=r"403: .* is forbidden: User .* cannot delete"):
        guarded.agent.delete(EVENTS, made["name"], guarded.space)


def record(store: KubeStore, t: Target) -> EventRecorder:
    """Record two series as a node's agent: about a pod, and about its Node."""
    reporter = Reporter(CONTROLLER_AGENT, t.mine.node)
    recorder = EventRecorder(store, lambda: 0.0, lambda: datetime.now(UTC), reporter)
    recorder.start()
    pod = t.mine.pod["metadata"]
    node = t.admin.get(NODES, t.mine.node)["metadata"]
    of_pod = ObjectMeta(name=pod["name"], namespace=pod["namespace"], uid=pod["uid"])
    of_node = ObjectMeta(name=node["name"], uid=node["uid"])
    recorded = [
        *((PODS, of_pod, reason, pod_events.ACTION) for reason in PodReason),
        *((NODES, of_node, reason, "RestoreRule") for reason in NodeReason),
    ]
    for kind, about, reason, action in [*recorded, *recorded]:
        note = "x" * 2000
        recorder.record(kind, about, EventType.WARNING, reason, note=note, action=action)
    recorder.stop(60)
    return recorder


def test_what_an_agent_records_is_taken_with_its_series(guarded: Target) -> None:
    recorder = record(guarded.agent, guarded)
    assert set(recorder.dropped().values()) == {0}
    found = stored(guarded)
    assert {e["reason"] for e in found} == {*PodReason, *NodeReason}
    assert all(e["series"]["count"] == 2 for e in found)
    managers = {m["manager"] for e in found for m in e["metadata"]["managedFields"]}
    assert managers == {MANAGER_AGENT}


def test_the_policy_and_the_agent_have_the_same_reasons() -> None:
    documents = chart.render(prepared.read(["helm"]).built.bin("helm"))
    (policy,) = (
        d
        for d in documents
        if d["metadata"]["name"] == "openeni-agent-events"
        and d["kind"] == "ValidatingAdmissionPolicy"
    )
    variables = {v["name"]: v["expression"] for v in policy["spec"]["variables"]}
    for name, reasons in (("aboutPod", PodReason), ("aboutNode", NodeReason)):
        listed = variables[name].partition(" in ")[2].strip()
        assert listed == "[" + ",".join(f'"{reason}"' for reason in reasons) + "]"
