"""What the holder of an agent's token may try on PodIPs."""

from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import FINALIZER_PODIP, LABEL_RETAINED, PODIPS
from openeni_testing.admission import bodies
from openeni_testing.admission.target import Attack, Target
from openeni_testing.admission.writes import REMOVE, Write, new_podip, podip

pytestmark = pytest.mark.cluster

ITS_PART = (
    "of a PodIP an agent changes spec.containerID, its finalizer and the status but for "
    "AddressLost, Retained and Placed"
)
OWN_NODE = "spec.nodeName: an agent writes PodIPs of its own node only, which is node-"
ONE_OWNER = "metadata.ownerReferences: a PodIP has one owner, the Pod of its name with the UID in"
ONE_LABEL = f"metadata.labels: a PodIP has no label but {LABEL_RETAINED}"
ONE_FINALIZER = f"metadata.finalizers: a PodIP has one finalizer, {FINALIZER_PODIP}"
RELEASE = f"metadata.finalizers: an agent takes {FINALIZER_PODIP} off and changes no other"
EVIL = "evil.example/forever"
SERVICE: Json = {"apiVersion": "v1", "kind": "Service", "name": "kubernetes", "uid": "0"}


def meta(**fields: Any) -> Write:
    """Create a PodIP with these fields in its metadata."""
    return new_podip(lambda body, _: body["metadata"].update(fields))


def owner(**fields: Any) -> Write:
    """Create a PodIP with these fields in its owner reference."""
    return new_podip(lambda body, _: body["metadata"]["ownerReferences"][0].update(fields))


def _of_another_node(body: Json, t: Target) -> None:
    body["spec"]["nodeName"] = t.other.node


def _in_kube_system(body: Json, t: Target) -> None:
    body["metadata"].update(namespace="kube-system", finalizers=[EVIL])


def _of_another_pod(body: Json, t: Target) -> None:
    body["spec"]["podUID"] = t.other.pod["metadata"]["uid"]


def _of_two_pods(body: Json, t: Target) -> None:
    second = body["metadata"]["ownerReferences"][0] | {"uid": t.other.pod["metadata"]["uid"]}
    body["metadata"]["ownerReferences"].append(second)


def _kept_without_label(body: Json, _: Target) -> None:
    body["spec"]["retention"] = "Forever"
    del body["metadata"]["ownerReferences"]


def _kept_with_owner(body: Json, _: Target) -> None:
    body["spec"]["retention"] = "Forever"
    body["metadata"]["labels"] = {LABEL_RETAINED: "true"}


def _delete_anothers(t: Target) -> None:
    meta = t.other.podip["metadata"]
    t.agent.delete(PODIPS, meta["name"], meta["namespace"])


def _apply_in_kube_system(t: Target) -> object:
    """By server-side apply, which creates what is not there."""
    body = bodies.podip(t.bare, t.mine.node, t.mine.eni_name, t.pool_name)
    _in_kube_system(body, t)
    return t.agent.apply(PODIPS, body, manager="kubelet")


CREATIONS = (
    Attack("in kube-system by apply", ONE_FINALIZER, _apply_in_kube_system),
    Attack("of another node", OWN_NODE, new_podip(_of_another_node)),
    Attack("in kube-system, for ever", ONE_FINALIZER, new_podip(_in_kube_system)),
    Attack("a second finalizer", ONE_FINALIZER, meta(finalizers=[FINALIZER_PODIP, EVIL])),
    Attack("no finalizer", ONE_FINALIZER, meta(finalizers=[])),
    Attack("no owner", ONE_OWNER, meta(ownerReferences=[])),
    Attack("owned by a Service", ONE_OWNER, meta(ownerReferences=[SERVICE])),
    Attack("owned by another kind's Pod", ONE_OWNER, owner(apiVersion="example.com/v1")),
    Attack("owned by a pod of another name", ONE_OWNER, owner(name="other")),
    Attack("owned by a pod of another UID", ONE_OWNER, owner(uid="0")),
    Attack("for another pod's UID", ONE_OWNER, new_podip(_of_another_pod)),
    Attack("two owners", ONE_OWNER, new_podip(_of_two_pods)),
    Attack("controlled", ONE_OWNER, owner(controller=True)),
    Attack("blocking its owner's deletion", ONE_OWNER, owner(blockOwnerDeletion=True)),
    Attack("labels", ONE_LABEL, meta(labels={"app": "payments"})),
    Attack("kept without its label", ONE_LABEL, new_podip(_kept_without_label)),
    Attack("kept with an owner", ONE_OWNER, new_podip(_kept_with_owner)),
    Attack(
        "annotations", "metadata.annotations: a new PodIP has none", meta(annotations={"a": "b"})
    ),
)


def change(path: str, value: Any) -> Write:
    return podip(path, value, who="agent")


def of_another(path: str, value: Any) -> Write:
    return podip(path, value, who="agent", side="other")


def condition(type_: str, **fields: Any) -> Write:
    made = bodies.condition(type_, **fields)
    return change("/status/conditions/-", made)


def _replace_owner(t: Target) -> object:
    pod = t.other.pod["metadata"]
    made = [{"apiVersion": "v1", "kind": "Pod", "name": pod["name"], "uid": pod["uid"]}]
    return change("/metadata/ownerReferences", made)(t)


def _apply_label(t: Target) -> object:
    """By server-side apply, in another's name."""
    meta = t.mine.podip["metadata"]
    body = {"name": meta["name"], "namespace": meta["namespace"], "labels": {"a": "b"}}
    return t.agent.apply(PODIPS, {"metadata": body}, manager="helm")


def _apply_condition(t: Target) -> object:
    """Take the operator's condition by server-side apply, in its name."""
    found = {"conditions": [bodies.condition("AddressLost") | {"status": "False"}]}
    body = bodies.status(t.mine.podip, found)
    return t.agent.apply(PODIPS, body, manager="openeni-operator", subresource="status")


CHANGES = (
    Attack("AddressLost by apply", "status.conditions: AddressLost", _apply_condition),
    Attack("label", f"metadata.labels: {ITS_PART}", change("/metadata/labels", {"a": "b"})),
    Attack("label by apply", f"metadata.labels: {ITS_PART}", _apply_label),
    Attack(
        "annotation",
        f"metadata.annotations: {ITS_PART}",
        change("/metadata/annotations", {"a": "b"}),
    ),
    Attack(
        "owner removed",
        f"metadata.ownerReferences: {ITS_PART}",
        change("/metadata/ownerReferences", REMOVE),
    ),
    Attack("owner replaced", f"metadata.ownerReferences: {ITS_PART}", _replace_owner),
    Attack("finalizer added", RELEASE, change("/metadata/finalizers/-", EVIL)),
    Attack("finalizer replaced", RELEASE, change("/metadata/finalizers", [EVIL])),
    Attack("another node's finalizer", OWN_NODE, of_another("/metadata/finalizers", [])),
    Attack("another node's containerID", OWN_NODE, of_another("/spec/containerID", "0")),
    Attack("another node's status", OWN_NODE, of_another("/status/podInterface", "eth1")),
    Attack("another node's PodIP deleted", OWN_NODE, _delete_anothers),
    Attack(
        "AddressLost changed",
        "status.conditions: AddressLost",
        change("/status/conditions/0/status", "False"),
    ),
    Attack(
        "AddressLost removed",
        "status.conditions: AddressLost",
        change("/status/conditions", REMOVE),
    ),
    Attack("status emptied", "status.conditions: AddressLost", change("/status", {})),
    Attack("another's condition", f"status.conditions: Mine: {ITS_PART}", condition("Mine")),
    Attack(
        "lower-case time",
        "status.conditions: lastTransitionTime is a time in UTC with whole seconds",
        condition("Ready", time="2026-11-24t01:02:03z"),
    ),
)
ATTACKS = (*CREATIONS, *CHANGES)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_without_the_policies_it_succeeds(unguarded: Target, attack: Attack) -> None:
    attack.succeeds(unguarded)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_with_the_policies_it_is_refused(guarded: Target, attack: Attack) -> None:
    attack.is_refused(guarded)
