"""Kubernetes' own controllers under the policies: they run, and do what they do elsewhere."""

import json
from collections.abc import Iterator
from functools import partial

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, FINALIZER_PODIP, NAMESPACES, PODIPS
from openeni_kube.client import KubeStore
from openeni_kube.store import NotFoundError
from openeni_kube.wire import object_path
from openeni_lab.kubernetes.certificates import Identity
from openeni_testing.admission import bodies
from openeni_testing.admission.cluster import (
    POLICIES,
    Cluster,
    grant_everything,
    may_do_everything,
)
from openeni_testing.admission.target import Target, end_pod
from openeni_testing.waiting import wait_for

CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "validatingadmissionpolicy-status-controller",
)
pytestmark = pytest.mark.cluster
RELEASE: list[Json] = [{"op": "replace", "path": "/metadata/finalizers", "value": []}]


@pytest.fixture(scope="module", autouse=True)
def _controllers(cluster: Cluster) -> Iterator[None]:
    with cluster.server.controllers(*CONTROLLERS):
        yield


def _is_going(t: Target) -> bool:
    meta = t.mine.podip["metadata"]
    found = t.admin.get(PODIPS, meta["name"], meta["namespace"])["metadata"]
    return "deletionTimestamp" in found and found["finalizers"] == [FINALIZER_PODIP]


def _is_gone(t: Target) -> bool:
    meta = t.mine.podip["metadata"]
    try:
        t.admin.get(PODIPS, meta["name"], meta["namespace"])
    except NotFoundError:
        return True
    return False


def _release(store: KubeStore, podip: Json) -> None:
    meta = podip["metadata"]
    store.patch(PODIPS, meta["name"], meta["namespace"], operations=RELEASE)


def test_every_policy_fits_the_types_that_it_speaks_of(guarded: Target) -> None:
    names = [d["metadata"]["name"] for d in guarded.cluster.documents if d["kind"] == POLICIES.name]
    assert len(names) == 9

    def checked(name: str) -> Json | None:
        body = guarded.admin.get(POLICIES, name)
        status: Json = body.get("status", {})
        seen = status.get("observedGeneration") == body["metadata"]["generation"]
        return status if seen and "typeChecking" in status else None

    for name in names:
        status = wait_for(partial(checked, name), f"the check of {name}")
        assert not status["typeChecking"].get("expressionWarnings"), name

    text = json.dumps(guarded.admin.get(POLICIES, "openeni-agent-podips")["spec"])
    spec = json.loads(text.replace("object.spec.podUID", "object.spec.podUid"))
    broken = bodies.manifest(POLICIES.api_version, POLICIES.name, "broken", spec=spec)
    guarded.admin.create(POLICIES, broken)  # without a binding it refuses nothing
    status = wait_for(partial(checked, "broken"), "the check of a policy with a mistake")
    guarded.admin.delete(POLICIES, "broken")
    assert "undefined field 'podUid'" in str(status["typeChecking"]["expressionWarnings"])


def test_a_podip_goes_with_its_pod_when_its_agent_lets_it(guarded: Target) -> None:
    end_pod(guarded.admin, guarded.mine.pod)
    wait_for(lambda: _is_going(guarded), "the garbage collector deletes the PodIP")
    _release(guarded.agent, guarded.mine.podip)
    assert _is_gone(guarded)


def test_a_pool_that_is_deleted_may_leave_its_enis(guarded: Target) -> None:
    """The garbage collector writes the ENIs: it takes their owner away."""
    orphan = {"propagationPolicy": "Orphan"}
    guarded.alice.request("DELETE", object_path(ENIPOOLS, guarded.pool_name), body=orphan)

    def orphaned() -> bool:
        return "ownerReferences" not in guarded.admin.get(ENIS, guarded.mine.eni_name)["metadata"]

    wait_for(orphaned, "the ENI has no owner")


def test_a_namespace_with_podips_can_be_deleted(guarded: Target) -> None:
    guarded.alice.delete(NAMESPACES, guarded.space)
    for pod in (guarded.mine.pod, guarded.other.pod, guarded.bare):
        end_pod(guarded.admin, pod)
    wait_for(lambda: _is_going(guarded), "the namespace's PodIPs are deleted")
    other = guarded.cluster.account("openeni-agent", guarded.other.agent_pod)
    for agent, place in ((guarded.agent, guarded.mine), (other, guarded.other)):
        _release(agent, place.podip)

    def gone() -> bool:
        try:
            guarded.admin.get(NAMESPACES, guarded.space)
        except NotFoundError:
            return True
        return False

    wait_for(gone, "the namespace is gone", 180)  # the controller looks again ever later


@pytest.mark.parametrize(
    "name",
    [
        "system:kube-controller-manager",
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:serviceaccount:kube-system:namespace-controller",
    ],
)
def test_controllers_write_as_any_of_their_users(guarded: Target, name: str) -> None:
    """The first is theirs in a cluster without --use-service-account-credentials."""
    store = guarded.cluster.user(Identity(name))
    grant_everything(guarded.cluster, name.replace(":", "-"), [{"kind": "User", "name": name}])
    wait_for(lambda: may_do_everything(store), "the controller's rights")
    orphan: list[Json] = [{"op": "remove", "path": "/metadata/ownerReferences"}]
    assert (
        "ownerReferences"
        not in store.patch(ENIS, guarded.mine.eni_name, operations=orphan)["metadata"]
    )
