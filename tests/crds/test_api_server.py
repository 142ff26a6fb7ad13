"""What the real API server makes of our kinds: what it takes, fills in, keeps apart and shows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode
from openeni_crds.names import API_VERSION, ENIPOOLS, ENIS, GROUP, PODIPS, VERSION
from openeni_crds.schema import MODELS
from openeni_kube.client import KubeStore
from openeni_kube.wire import object_path
from openeni_testing.objects import REPOSITORY, eni_body, podip_body, pool_body, unique

pytestmark = pytest.mark.cluster

EXAMPLES = sorted((REPOSITORY / "docs" / "examples").glob("*.yaml"))  # for people to apply
SAMPLES = sorted(Path(__file__).with_name("samples").glob("*.yaml"))  # as operator and agents write
KINDS = {kind.name: kind for kind in MODELS}
MANAGER = "openeni-tests"


def example(path: Path) -> Json:
    body: Json = yaml.safe_load(path.read_text())
    return body


@pytest.fixture
def example_body(request: pytest.FixtureRequest, real_store: KubeStore) -> Iterator[Json]:
    """An example under its own name; it leaves no finalized object behind."""
    body = example(request.param)
    kind = KINDS[body["kind"]]
    meta = body["metadata"]
    yield body
    held: list[Json] = [{"op": "add", "path": "/metadata/finalizers", "value": []}]
    real_store.patch(kind, meta["name"], meta.get("namespace", ""), operations=held)
    real_store.delete(kind, meta["name"], meta.get("namespace", ""))


@pytest.mark.parametrize("example_body", EXAMPLES + SAMPLES, indirect=True, ids=lambda p: p.stem)
def test_each_example_is_taken_as_it_stands_and_becomes_a_value(
    real_store: KubeStore, example_body: Json
) -> None:
    kind = KINDS[example_body["kind"]]
    model: Any = MODELS[kind]
    strict = {"fieldValidation": "Strict"}
    path = object_path(kind, namespace=example_body["metadata"].get("namespace", ""))
    made = real_store.request("POST", path, body=example_body, query=strict)
    if "status" in example_body:
        made = real_store.apply(kind, example_body, manager=MANAGER, subresource="status")
        assert made["status"] == example_body["status"]
    value = decode(made, model)
    assert value.name == example_body["metadata"]["name"]


def test_there_is_an_example_of_every_datapath_and_each_is_for_people_to_apply() -> None:
    bodies = [example(path) for path in EXAMPLES]
    assert {b["kind"] for b in bodies} == {ENIPOOLS.name}
    pools = [decode(b, ENIPool) for b in bodies if b["kind"] == "ENIPool"]
    labels = {p.spec.datapath.word for p in pools}
    assert labels == {"Veth", "IPVlanL2", "IPVlanL3S", "IPVlanL3"}


def test_the_schemas_defaults_are_the_models_defaults(real_store: KubeStore) -> None:
    name = unique("pool")
    made = real_store.create(ENIPOOLS, pool_body(name))["spec"]
    assert made["cloud"] == "default"
    assert made["priority"] == 0
    assert made["coolDown"] == "130s"
    assert made["reclaim"] == {"policy": "After", "after": "15m"}
    assert made["datapath"] == {"mode": "Veth", "metadataService": "Block"}
    assert made["capacity"] == {
        "growth": "Static",
        "addressesPerENI": 15,
        "maxENIsPerNode": 4,
        "minAvailable": 2,
    }
    bare = decode({"metadata": {"name": name}, "spec": pool_body(name)["spec"]}, ENIPool)
    assert decode({"metadata": {"name": name}, "spec": made}, ENIPool).spec == bare.spec
    real_store.delete(ENIPOOLS, name)


def test_reclaim_needs_no_time_with_either_policy(real_store: KubeStore) -> None:
    for policy in ("After", "Never"):
        body = pool_body(unique("pool"))
        body["spec"]["reclaim"] = {"policy": policy}
        made = real_store.create(ENIPOOLS, body)["spec"]["reclaim"]
        assert made == {"policy": policy, "after": "15m"}


def test_a_pods_address_leads_to_its_podip(real_store: KubeStore) -> None:
    name = unique("pod")
    body = podip_body(name)
    body["spec"] |= {"address": "10.98.7.77", "addressIPv6": "fd00::7:77"}
    real_store.create(PODIPS, body)
    for selector in ("spec.address=10.98.7.77", "spec.addressIPv6=fd00::7:77"):
        (found,) = real_store.list(PODIPS, field_selector=selector).items
        assert found["metadata"]["name"] == name
    assert real_store.list(PODIPS, field_selector="spec.address=10.98.7.78").items == ()


def test_fields_that_are_not_in_the_api_are_dropped(real_store: KubeStore) -> None:
    body = pool_body(unique("pool"))
    body["spec"]["phase"] = "Ready"
    assert "phase" not in real_store.create(ENIPOOLS, body)["spec"]


def test_the_operator_may_change_what_retires(real_store: KubeStore) -> None:
    name = unique("eni")
    real_store.create(ENIS, eni_body(name))
    more: list[Json] = [
        {"op": "add", "path": "/spec/retiring", "value": ["10.98.0.5", "fd00::5"]},
    ]
    assert real_store.patch(ENIS, name, operations=more)["metadata"]["generation"] == 2


def table(store: KubeStore, path: str) -> tuple[list[str], list[list[Any]]]:
    """What `kubectl get` shows: the headings, and a row for each object."""
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    answer = store.request("GET", path, accept=accept)
    narrow = [i for i, c in enumerate(answer["columnDefinitions"]) if not c["priority"]]
    names = [answer["columnDefinitions"][i]["name"] for i in narrow]
    return names, [[row["cells"][i] for i in narrow] for row in answer["rows"]]


def ready(status: str) -> Json:
    return {
        "type": "Ready",
        "status": status,
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": "2026-11-24T01:02:03Z",
    }


def test_kubectl_get_enipool_shows_the_pools_columns(real_store: KubeStore) -> None:
    name = unique("pool")
    real_store.create(ENIPOOLS, pool_body(name))
    status = {
        "conditions": [ready("True")],
        "datapathMode": "IPVlanL3S",
        "nodeCounts": {"selected": 2, "served": 2},
        "eniCount": 3,
        "freeCount": 900,
        "addressCounts": {"total": 45, "granted": 7, "available": 36, "cooling": 1},
    }
    body = {"metadata": {"name": name}, "status": status}
    real_store.apply(ENIPOOLS, body, manager=MANAGER, subresource="status")
    names, ((*cells, age),) = table(real_store, object_path(ENIPOOLS, name))
    assert names == [
        *["Name", "Mode", "Nodes", "ENIs", "Addresses", "Granted", "Available", "Cooling"],
        *["Ready", "Reason", "Age"],
    ]
    assert cells == [name, "IPVlanL3S", 2, 3, 45, 7, 36, 1, "True", "Ready"]
    assert age


def test_kubectl_get_eni_tells_the_enis_story(real_store: KubeStore) -> None:
    body = example(Path(__file__).with_name("samples") / "eni.yaml")
    name = unique("eni")
    body["metadata"] = {"name": name}
    body["status"]["conditions"] = [ready("True")]
    real_store.create(ENIS, body)
    real_store.apply(ENIS, body, manager=MANAGER, subresource="status")
    names, ((*cells, _),) = table(real_store, object_path(ENIS, name))
    assert names == [
        *["Name", "Node", "Pool", "State", "Addresses"],
        *["Granted", "MAC", "Device", "Ready", "Age"],
    ]
    assert cells == [name, "n1", "pods", "Ready", 2, 1, "fa:16:3e:5e:30:01", "eth1", "True"]


@pytest.mark.parametrize(
    ("addresses", "shown"),
    [
        ({"address": "10.98.0.5"}, "10.98.0.5"),
        ({"address": "10.98.0.5", "addressIPv6": "fd00::5"}, "10.98.0.5"),
        ({"addressIPv6": "fd00::5"}, "fd00::5"),
    ],
)
def test_kubectl_get_podip_tells_who_has_what(
    real_store: KubeStore, addresses: Json, shown: str
) -> None:
    name = unique("pod")
    body = podip_body(name)
    del body["spec"]["address"]
    body["spec"] |= addresses
    real_store.create(PODIPS, body)
    names, ((*cells, _),) = table(real_store, object_path(PODIPS, name, "default"))
    assert names == ["Name", "Address", "Node", "ENI", "Mode", "Ready", "Age"]
    assert cells == [name, shown, "n1", "pods-2f1f9a3e-0", "Veth", None]


def test_discovery_tells_kubectl_our_short_names(real_store: KubeStore) -> None:
    answer = real_store.request("GET", f"/apis/{API_VERSION}")
    assert answer["groupVersion"] == f"{GROUP}/{VERSION}"
    found = {r["name"]: r for r in answer["resources"] if "/" not in r["name"]}
    assert found["enipools"]["shortNames"] == ["enip"]
    singulars = {name: r["singularName"] for name, r in found.items()}
    assert singulars == {"enipools": "enipool", "enis": "eni", "podips": "podip"}
    assert all(r["categories"] == ["openeni"] for r in found.values())
    assert {name for name, r in found.items() if r["namespaced"]} == {"podips"}
