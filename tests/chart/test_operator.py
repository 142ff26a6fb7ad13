"""What the holder of the operator's token may try, and what the operator does."""

from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import (
    FINALIZER_ENI,
    FINALIZER_ENIPOOL,
    FINALIZER_PODIP,
    TAINT_AGENT_NOT_READY,
)
from openeni_testing.admission import bodies
from openeni_testing.admission.target import Attack, Target
from openeni_testing.admission.writes import (
    REMOVE,
    Write,
    eni,
    new_eni,
    node,
    podip,
    pool,
)

pytestmark = pytest.mark.cluster

POOL_PART = (
    f"of an ENIPool the operator changes {FINALIZER_ENIPOOL} in the finalizers and the status only"
)
ENI_PART = (
    "of an ENI the operator changes spec.addressCount, spec.retiring, spec.securityGroupIDs, "
    "spec.portTags, spec.qosPolicyID, its finalizer, status.port, status.applied and the conditions"
)
PODIP_PART = (
    "of a PodIP the operator changes spec.nodeName, spec.eniName, its finalizer and the conditions "
    "AddressLost, Retained and Placed only"
)
NOT_WATCHED = (
    "spec: the operator changes nodeName and eniName of a PodIP with the label "
    "openeni.io/retained only"
)
NODE_PART = f"of a Node the operator changes the taint {TAINT_AGENT_NOT_READY} only"
ENI_OWNER = "metadata.ownerReferences: an ENI has one owner, the ENIPool in spec.poolName"
ENI_LABELS = "metadata.labels: an ENI has openeni.io/pool, the name in spec.poolName, and"
EVIL = "evil.example/forever"


def change_pool(path: str, value: Any) -> Write:
    return pool(path, value, who="operator")


def change_eni(path: str, value: Any) -> Write:
    return eni(path, value, who="operator")


def change_podip(path: str, value: Any) -> Write:
    return podip(path, value, who="operator")


def change_node(path: str, value: Any) -> Write:
    return node(path, value, who="operator")


def create_eni(**fields: Any) -> Write:
    return new_eni(lambda body, _: body["metadata"].update(fields), who="operator")


def _of_another_pool(body: Json, t: Target) -> None:
    body["spec"]["poolName"] = "other"


ATTACKS = (
    Attack("ENIPool's spec", f"spec.coolDown: {POOL_PART}", change_pool("/spec/coolDown", "60s")),
    Attack(
        "ENIPool's security groups",
        f"spec.securityGroups: {POOL_PART}",
        change_pool("/spec/securityGroups", [{"name": "x"}]),
    ),
    Attack(
        "ENIPool's label",
        f"metadata.labels: {POOL_PART}",
        change_pool("/metadata/labels", {"a": "b"}),
    ),
    Attack(
        "ENIPool's annotation",
        f"metadata.annotations: {POOL_PART}",
        change_pool("/metadata/annotations", {"a": "b"}),
    ),
    Attack(
        "ENIPool's other finalizer",
        f"metadata.finalizers: {POOL_PART}",
        change_pool("/metadata/finalizers/-", EVIL),
    ),
    Attack("ENI's label", f"metadata.labels: {ENI_PART}", change_eni("/metadata/labels/a", "b")),
    Attack(
        "ENI's annotation",
        f"metadata.annotations: {ENI_PART}",
        change_eni("/metadata/annotations", {"a": "b"}),
    ),
    Attack(
        "ENI's owner",
        f"metadata.ownerReferences: {ENI_PART}",
        change_eni("/metadata/ownerReferences", REMOVE),
    ),
    Attack(
        "ENI's other finalizer",
        f"metadata.finalizers: the operator takes {FINALIZER_ENI} off",
        change_eni("/metadata/finalizers/-", EVIL),
    ),
    Attack(
        "ENI's node", f"status.node: {ENI_PART}", change_eni("/status/node", {"device": "eth9"})
    ),
    Attack(
        "LinkReady",
        f"status.conditions: LinkReady: {ENI_PART}",
        change_eni("/status/conditions/-", bodies.condition("LinkReady")),
    ),
    Attack("ENI made for another pool", ENI_OWNER, new_eni(_of_another_pool, who="operator")),
    Attack("ENI made without owner", ENI_OWNER, create_eni(ownerReferences=[])),
    Attack("ENI made without labels", ENI_LABELS, create_eni(labels={})),
    Attack(
        "ENI made with annotations",
        "metadata.annotations: a new ENI has none",
        create_eni(annotations={"a": "b"}),
    ),
    Attack(
        "ENI made with two finalizers",
        "metadata.finalizers: an ENI has one",
        create_eni(finalizers=[FINALIZER_ENI, EVIL]),
    ),
    Attack(
        "PodIP's container",
        f"spec.containerID: {PODIP_PART}",
        change_podip("/spec/containerID", "0"),
    ),
    Attack("PodIP's ENI", NOT_WATCHED, change_podip("/spec/eniName", REMOVE)),
    Attack(
        "PodIP's label",
        f"metadata.labels: {PODIP_PART}",
        change_podip("/metadata/labels", {"a": "b"}),
    ),
    Attack(
        "PodIP's owner",
        f"metadata.ownerReferences: {PODIP_PART}",
        change_podip("/metadata/ownerReferences", REMOVE),
    ),
    Attack(
        "PodIP's other finalizer",
        f"metadata.finalizers: the operator takes {FINALIZER_PODIP} off",
        change_podip("/metadata/finalizers/-", EVIL),
    ),
    Attack(
        "PodIP's gateway",
        f"status.gateway: {PODIP_PART}",
        change_podip("/status/gateway", "10.98.0.1"),
    ),
    Attack(
        "PodIP's Ready",
        f"status.conditions: Ready: {PODIP_PART}",
        change_podip("/status/conditions/-", bodies.condition("Ready")),
    ),
    Attack(
        "Node's label",
        f"metadata.labels: {NODE_PART}",
        change_node("/metadata/labels/node-role.kubernetes.io~1control-plane", ""),
    ),
    Attack(
        "Node cordoned",
        f"spec.unschedulable: {NODE_PART}",
        change_node("/spec/unschedulable", True),
    ),
    Attack(
        "another taint",
        f"spec.taints: {NODE_PART}",
        change_node("/spec/taints", [{"key": "mine", "effect": "NoSchedule"}]),
    ),
    Attack(
        "a taint that evicts",
        f"spec.taints: {TAINT_AGENT_NOT_READY} is NoSchedule",
        change_node("/spec/taints/-", {"key": TAINT_AGENT_NOT_READY, "effect": "NoExecute"}),
    ),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_without_the_policies_it_succeeds(unguarded: Target, attack: Attack) -> None:
    attack.succeeds(unguarded)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_with_the_policies_it_is_refused(guarded: Target, attack: Attack) -> None:
    attack.is_refused(guarded)
