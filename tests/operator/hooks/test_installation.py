"""Helm's test: what it finds wrong with an installation, and how it says so."""

from collections.abc import Mapping

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import (
    ANNOTATION_BUNDLE_VERSION,
    CRDS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENIPOOLS,
    ENIS,
    LABEL_COMPONENT,
    PODIPS,
    PODS,
    crd_name,
)
from openeni_operator.hooks.installation import NO_AGENT, NO_CRDS, NO_OPERATOR, observe
from openeni_operator.hooks.waiting import Finding
from openeni_operator.process.crd_version import OWN
from openeni_testing.store.memory import MemoryStore

NAMESPACE = "net"


def installed(versions: Mapping[str, str] = OWN) -> MemoryStore:
    """Return a cluster with CRDs of these versions, by their names."""
    store = MemoryStore()
    for kind in (ENIPOOLS, ENIS, PODIPS):
        metadata: Json = {
            "name": crd_name(kind),
            "annotations": {ANNOTATION_BUNDLE_VERSION: versions[crd_name(kind)]},
        }
        store.create(CRDS, {"metadata": metadata})
    return store


def put_operator(store: MemoryStore, *, wanted: int = 1, **status: int) -> None:
    """Write the Deployment, rolled out but for what is given."""
    done = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), wanted)
    body = {"spec": {"replicas": wanted}, "status": {"observedGeneration": 1, **done, **status}}
    place = {"name": "openeni-operator", "namespace": NAMESPACE}
    store.create(DEPLOYMENTS, {"metadata": place, **body})


def put_agents(store: MemoryStore, *, wanted: int = 2, **status: int) -> None:
    """Write the DaemonSet, rolled out but for what is given."""
    counts = ("desired", "current", "updated")
    done = {**{f"{c}NumberScheduled": wanted for c in counts}, "numberAvailable": wanted}
    place = {"name": "openeni-agent", "namespace": NAMESPACE}
    reported = {"observedGeneration": 1, **done, **status}
    store.create(DAEMONSETS, {"metadata": place, "spec": {}, "status": reported})


def rolled_out() -> MemoryStore:
    """Return a cluster with an installation that is as the release wants it."""
    store = installed()
    put_operator(store)
    put_agents(store)
    return store


def add(store: MemoryStore, name: str, component: str, *, ready: bool = True, **more: Json) -> None:
    status = {"conditions": [{"type": "Ready", "status": str(ready)}], **more.get("status", {})}
    labels = {"app.kubernetes.io/name": "openeni", LABEL_COMPONENT: component}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    metadata |= more.get("metadata", {})
    store.create(PODS, {"metadata": metadata, "spec": more.get("spec", {})})
    change = {"op": "add", "path": "/status", "value": status}
    store.patch(PODS, name, str(metadata["namespace"]), operations=[change], subresource="status")


def find(store: MemoryStore) -> Finding:
    return observe(store, NAMESPACE).finding


def test_an_operator_and_agents_that_are_ready_are_all_it_asks_for() -> None:
    store = rolled_out()
    add(store, "operator-1", "operator")
    add(store, "agent-1", "agent")
    add(store, "agent-2", "agent")
    assert find(store) == Finding()


def test_pods_that_are_not_ready_are_named_with_their_nodes() -> None:
    store = rolled_out()
    add(store, "operator-1", "operator", ready=False)
    add(store, "agent-1", "agent", ready=False, spec={"nodeName": "n1"})
    add(store, "agent-2", "agent", spec={"nodeName": "n2"})
    assert find(store).waiting_for == (
        "pods to be ready: agent-1 (on n1), operator-1 (on no node yet)"
    )


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"observedGeneration": 0}, "its controller has not seen the release yet"),
        ({"updatedReplicas": 1}, "of 2 pods 1 are new and 2 available"),
        ({"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, "1 are new and 1 avail"),
        ({"availableReplicas": 1}, "of 2 pods 2 are new and 1 available"),
        ({"replicas": 3}, "of 2 pods 2 are new and 2 available"),  # an old one is not gone yet
    ],
)
def test_in_the_middle_of_the_operators_rollout_it_waits(status: dict[str, int], said: str) -> None:
    store = installed()
    put_operator(store, wanted=2, **status)
    put_agents(store)
    add(store, "operator-1", "operator")
    assert find(store).waiting_for.startswith("the operators' rollout: ")
    assert said in find(store).waiting_for


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ({"observedGeneration": 0}, "its controller has not seen the release yet"),
        ({"updatedNumberScheduled": 1}, "of 2 pods 1 are new and 2 available"),
        ({"currentNumberScheduled": 1}, "of 2 pods 2 are new and 2 available"),
        ({"numberAvailable": 1}, "of 2 pods 2 are new and 1 available"),
    ],
)
def test_in_the_middle_of_the_agents_rollout_it_waits(status: dict[str, int], said: str) -> None:
    store = installed()
    put_operator(store)
    put_agents(store, **status)
    add(store, "agent-1", "agent")
    assert find(store).waiting_for == f"the agents' rollout: {said}"


def test_without_any_pod_it_says_where_to_look() -> None:
    store = installed()
    assert find(store).waiting_for == f"{NO_OPERATOR}; {NO_AGENT}"
    put_operator(store)
    put_agents(store, currentNumberScheduled=0)  # Pod Security has refused them
    assert find(store).waiting_for == NO_AGENT
    assert "the namespace must permit privileged pods" in NO_AGENT


def test_pods_that_have_ended_and_those_of_others_do_not_count() -> None:
    store = rolled_out()
    add(store, "operator-1", "operator")
    add(store, "operator-0", "operator", ready=False, status={"phase": "Failed"})  # evicted
    add(store, "agent-1", "agent")
    add(store, "agent-2", "agent", ready=False, metadata={"namespace": "elsewhere"})
    add(store, "database", "agent", ready=False, metadata={"labels": {LABEL_COMPONENT: "agent"}})
    assert find(store) == Finding()


@pytest.mark.parametrize(
    ("store", "said"),
    [
        (MemoryStore(), NO_CRDS),
        (installed(dict.fromkeys(OWN, "9.9.9")), "the CRDs are not those of this operator's build"),
    ],
)
def test_crds_that_are_absent_or_of_another_version_are_no_matter_of_time(
    store: MemoryStore, said: str
) -> None:
    assert find(store).refusal.startswith(said)
