"""What openeni relies on of the API server; the store in memory is held to the same.

Creating, reading, patching, deleting; watches and server-side apply have files beside it.
"""

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, NAMESPACES, PODIPS, PODS, Kind
from openeni_kube.store import (
    ConflictError,
    InvalidError,
    NotFoundError,
    Store,
    object_key,
)
from openeni_testing.objects import eni_body, podip_body, pool_body, port_status, status_of, unique

SERVICE_ACCOUNT = Kind("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
OPERATOR = "openeni-operator"


@pytest.fixture
def eni(store: Store) -> Json:
    return store.create(ENIS, eni_body(unique("eni")))


def test_what_is_created_can_be_read_and_has_an_identity(store: Store) -> None:
    name = unique("eni")
    made = store.create(ENIS, eni_body(name))
    assert store.get(ENIS, name) == made
    meta = made["metadata"]
    assert meta["uid"]
    assert meta["creationTimestamp"]
    assert int(meta["resourceVersion"]) > 0
    assert meta["generation"] == 1
    assert (made["apiVersion"], made["kind"]) == ("openeni.io/v1alpha1", "ENI")


def test_reading_what_is_not_there_is_a_not_found_error_that_names_it(store: Store) -> None:
    with pytest.raises(NotFoundError, match="nowhere"):
        store.get(ENIS, "nowhere")


def test_creating_a_name_twice_is_a_conflict(store: Store, eni: Json) -> None:
    with pytest.raises(ConflictError, match=eni["metadata"]["name"]):
        store.create(ENIS, eni_body(eni["metadata"]["name"]))


def test_a_bad_object_is_refused_with_the_field(store: Store) -> None:
    body = eni_body(unique("eni"))
    body["spec"]["mtu"] = 12
    with pytest.raises(InvalidError, match=r"spec.mtu"):
        store.create(ENIS, body)


def test_defaults_are_filled_in(store: Store) -> None:
    made = store.create(ENIPOOLS, pool_body(unique("pool")))
    assert made["spec"]["cloud"] == "default"
    assert made["spec"]["capacity"]["addressesPerENI"] == 15
    assert made["spec"]["reclaim"] == {"policy": "After", "after": "15m"}


def test_a_status_given_at_creation_is_dropped(store: Store) -> None:
    made = store.create(ENIS, eni_body(unique("eni")) | {"status": {"port": port_status("Ready")}})
    assert "status" not in made


def test_namespaced_objects_live_in_their_namespace(store: Store) -> None:
    name = unique("pod")
    store.create(PODIPS, podip_body(name))
    assert store.get(PODIPS, name, "default")["metadata"]["namespace"] == "default"
    with pytest.raises(NotFoundError):
        store.get(PODIPS, name, "kube-system")


def test_a_list_has_all_namespaces_and_a_version_to_watch_from(store: Store, eni: Json) -> None:
    page = store.list(ENIS)
    assert eni in page.items
    assert int(page.resource_version) >= int(eni["metadata"]["resourceVersion"])


def test_the_versions_of_a_kind_are_listed_by_key(store: Store, eni: Json) -> None:
    podip = store.create(PODIPS, podip_body(unique("pod")))
    assert store.list_versions(ENIPOOLS) == {}
    for kind, key, body in (
        (ENIS, eni["metadata"]["name"], eni),
        (PODIPS, f"default/{podip['metadata']['name']}", podip),
    ):
        versions = store.list_versions(kind)
        assert versions[key] == body["metadata"]["resourceVersion"]
        assert sorted(versions) == sorted(map(object_key, store.list(kind).items))
        assert int(store.version(kind)) >= int(podip["metadata"]["resourceVersion"])


def test_a_list_is_selected_by_field_and_label(store: Store) -> None:
    node, name = unique("node"), unique("eni")
    body = eni_body(name, node=node)
    body["metadata"]["labels"] = {"rack": node}
    made = store.create(ENIS, body)
    store.create(ENIS, eni_body(unique("eni"), node=unique("node")))
    assert store.list(ENIS, field_selector=f"spec.nodeName={node}").items == (made,)
    assert list(store.pages(ENIS, field_selector=f"spec.nodeName={node}")) == [(made,)]
    assert store.list(ENIS, label_selector=f"rack={node}").items == (made,)
    assert store.list(ENIS, label_selector=f"rack={node},!rack").items == ()
    assert made not in store.list(ENIS, field_selector=f"spec.nodeName!={node}").items


def test_a_field_that_cannot_be_selected_by_is_refused(store: Store) -> None:
    with pytest.raises(InvalidError, match=r"spec.mtu"):
        store.list(ENIS, field_selector="spec.mtu=1450")


def test_items_of_built_in_lists_say_what_they_are(store: Store) -> None:
    name = unique("ns")
    store.create(NAMESPACES, {"metadata": {"name": name}})
    (found,) = store.list(NAMESPACES, field_selector=f"metadata.name={name}").items
    assert (found["apiVersion"], found["kind"]) == ("v1", "Namespace")


def test_a_patch_whose_test_fails_is_invalid_and_changes_nothing(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    operations: list[Json] = [
        {"op": "test", "path": "/spec/poolName", "value": "another"},
        {"op": "add", "path": "/spec/retiring", "value": ["10.98.0.5"]},
    ]
    with pytest.raises(InvalidError):
        store.patch(ENIS, name, operations=operations)
    assert store.get(ENIS, name) == eni


def test_a_patch_of_a_missing_place_is_invalid(store: Store, eni: Json) -> None:
    with pytest.raises(InvalidError):
        store.patch(
            ENIS, eni["metadata"]["name"], operations=[{"op": "remove", "path": "/spec/retiring"}]
        )


def test_a_patch_that_tests_an_old_version_fails(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    store.apply(
        ENIS, status_of(name, port=port_status("a")), manager=OPERATOR, subresource="status"
    )
    version = eni["metadata"]["resourceVersion"]
    operations: list[Json] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/metadata/finalizers", "value": ["openeni.io/port"]},
    ]
    with pytest.raises(InvalidError):
        store.patch(ENIS, name, operations=operations)


def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    store.delete(ENIS, name)
    with pytest.raises(NotFoundError):
        store.get(ENIS, name)
    store.delete(ENIS, name)


def test_a_delete_with_another_uid_deletes_nothing(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    store.delete(ENIS, name, uid="00000000-0000-0000-0000-000000000000")
    assert store.get(ENIS, name) == eni
    store.delete(ENIS, name, uid=eni["metadata"]["uid"])
    with pytest.raises(NotFoundError):
        store.get(ENIS, name)
    store.delete(ENIS, name, uid=eni["metadata"]["uid"])
    another = store.create(ENIS, eni_body(name))
    store.delete(ENIS, name, uid=eni["metadata"]["uid"])
    assert store.get(ENIS, name) == another


def test_a_finalizer_holds_a_deleted_object_until_it_is_taken_away(store: Store) -> None:
    name = unique("eni")
    body = eni_body(name)
    body["metadata"]["finalizers"] = ["openeni.io/port"]
    made = store.create(ENIS, body)
    store.delete(ENIS, name)
    held = store.get(ENIS, name)
    assert held["metadata"]["deletionTimestamp"]
    assert held["metadata"]["generation"] == made["metadata"]["generation"] + 1
    store.delete(ENIS, name)
    assert store.get(ENIS, name) == held
    more = [{"op": "add", "path": "/metadata/finalizers/-", "value": "openeni.io/enis"}]
    with pytest.raises(InvalidError, match="finalizers"):
        store.patch(ENIS, name, operations=more)
    store.patch(ENIS, name, operations=[{"op": "remove", "path": "/metadata/finalizers/0"}])
    with pytest.raises(NotFoundError):
        store.get(ENIS, name)


def test_a_new_object_of_an_old_name_is_another_one(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    store.delete(ENIS, name)
    assert store.create(ENIS, eni_body(name))["metadata"]["uid"] != eni["metadata"]["uid"]


def test_a_pods_status_is_its_own_part(store: Store) -> None:
    name = unique("pod")
    account = {"metadata": {"name": "default", "namespace": "default"}}
    store.apply(SERVICE_ACCOUNT, account, manager="openeni-tests")
    container = {"name": "web", "image": "web"}
    made = store.create(
        PODS,
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [container], "automountServiceAccountToken": False},
            "status": {"phase": "Running"},
        },
    )
    assert made["status"]["phase"] == "Pending"
    running = [{"op": "add", "path": "/status/phase", "value": "Running"}]
    after = store.patch(PODS, name, "default", operations=running, subresource="status")
    assert after["status"]["phase"] == "Running"
    assert store.list(PODS, field_selector=f"metadata.name={name}").items[0] == after
