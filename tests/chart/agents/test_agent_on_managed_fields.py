"""managedFields are a client's to write: an agent must neither swell objects nor co-own fields."""

from collections.abc import Callable
from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIS, MANAGER_AGENT, NODES, PODIPS, Kind
from openeni_kube.store import StoreError
from openeni_testing.admission import bodies
from openeni_testing.admission.target import Target
from openeni_testing.admission.writes import put

pytestmark = pytest.mark.cluster

Attempt = Callable[[Target], object]
FIELDS = "/metadata/managedFields"


def entry(manager: str, fields: Json, **more: Any) -> Json:
    return {
        "manager": manager,
        "operation": "Apply",
        "apiVersion": "openeni.io/v1alpha1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        **more,
    }


def fat(manager: str) -> Json:
    return entry(manager, {"f:spec": {f"f:{i:x}": {} for i in range(2000)}})


def deep(manager: str) -> Json:
    many: Json = {f'k:{{"type":"X{i}"}}': {f"f:{j}": {} for j in range(15)} for i in range(30)}
    return entry(manager, {"f:status": {"f:conditions": many}}, subresource="status")


def _key(t: Target, kind: Kind) -> tuple[str, str]:
    if kind == NODES:
        return t.mine.node, ""
    meta = (t.mine.eni if kind == ENIS else t.mine.podip)["metadata"]
    return meta["name"], meta.get("namespace", "")


def stored(t: Target, kind: Kind) -> list[Json]:
    name, namespace = _key(t, kind)
    found: list[Json] = t.admin.get(kind, name, namespace)["metadata"]["managedFields"]
    return found


def swell(kind: Kind, made: Json) -> Attempt:
    """Add an entry to those that stand there."""

    def do(t: Target) -> object:
        name, namespace = _key(t, kind)
        operations = put(FIELDS, [*stored(t, kind), made])
        return t.agent.patch(kind, name, namespace, operations=operations)

    return do


def co_own(manager: str) -> Attempt:
    """Apply the operator's own values in another name: then the operator cannot remove them."""

    def do(t: Target) -> object:
        name, _ = _key(t, ENIS)
        port = t.admin.get(ENIS, name)["status"]["port"]
        body = bodies.status(t.mine.eni, {"port": port})
        return t.agent.apply(ENIS, body, manager=manager, subresource="status")

    return do


CASES = [
    pytest.param(PODIPS, swell(PODIPS, fat("x")), id="fat PodIP in another name"),
    pytest.param(PODIPS, swell(PODIPS, fat(MANAGER_AGENT)), id="fat PodIP in its own name"),
    pytest.param(PODIPS, swell(PODIPS, deep(MANAGER_AGENT)), id="deep PodIP in its own name"),
    pytest.param(NODES, swell(NODES, fat("x") | {"apiVersion": "v1"}), id="fat Node"),
    pytest.param(ENIS, co_own("x"), id="the port of an ENI in another name"),
    pytest.param(ENIS, co_own(MANAGER_AGENT), id="the port of an ENI in its own name"),
]


@pytest.mark.parametrize(("kind", "attempt"), CASES)
def test_without_the_policies_it_succeeds(unguarded: Target, kind: Kind, attempt: Attempt) -> None:
    before = stored(unguarded, kind)
    attempt(unguarded)
    assert stored(unguarded, kind) != before


@pytest.mark.parametrize(("kind", "attempt"), CASES)
def test_with_the_policies_it_is_refused(guarded: Target, kind: Kind, attempt: Attempt) -> None:
    before = stored(guarded, kind)
    with pytest.raises(StoreError, match=r"metadata\.managedFields: "):
        attempt(guarded)
    assert stored(guarded, kind) == before


def test_a_label_that_somebody_changed_by_hand_is_put_right(guarded: Target) -> None:
    """The hand's entry then loses the field: that is no attack."""
    label = "/metadata/labels/datapath.openeni.io~1veth"
    name = guarded.mine.node
    guarded.agent.patch(NODES, name, operations=put(label, "true"))
    guarded.admin.patch(NODES, name, operations=put(label, "false"))
    guarded.agent.patch(NODES, name, operations=put(label, "true"))
    labels = guarded.admin.get(NODES, name)["metadata"]["labels"]
    assert labels["datapath.openeni.io/veth"] == "true"
