"""Server-side apply as openeni relies on it, on the store in memory and on the real one."""

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIS
from openeni_kube.store import ConflictError, InvalidError, NotFoundError, Store
from openeni_testing.objects import condition, eni_body, port_status, status_of, unique

OPERATOR, AGENT = "openeni-operator", "openeni-agent"


@pytest.fixture
def eni(store: Store) -> Json:
    return store.create(ENIS, eni_body(unique("eni")))


def test_apply_creates_what_is_not_there(store: Store) -> None:
    name = unique("eni")
    made = store.apply(ENIS, eni_body(name), manager=OPERATOR)
    assert made["metadata"]["generation"] == 1
    assert store.get(ENIS, name)["spec"]["poolName"] == "pods"


def test_apply_of_a_status_to_nothing_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.apply(
            ENIS,
            status_of("nowhere", port=port_status("x")),
            manager=OPERATOR,
            subresource="status",
        )


def test_the_generation_counts_changes_of_the_spec_only(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    after = store.apply(
        ENIS, status_of(name, port=port_status("Ready")), manager=OPERATOR, subresource="status"
    )
    assert after["metadata"]["generation"] == 1
    assert after["metadata"]["resourceVersion"] != eni["metadata"]["resourceVersion"]
    label = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]
    assert store.patch(ENIS, name, operations=label)["metadata"]["generation"] == 1
    retire = [{"op": "add", "path": "/spec/retiring", "value": ["10.98.0.5"]}]
    assert store.patch(ENIS, name, operations=retire)["metadata"]["generation"] == 2


def test_the_spec_cannot_be_changed_through_the_status(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    change: list[Json] = [
        {"op": "add", "path": "/status", "value": {"port": port_status("Ready")}},
        {"op": "add", "path": "/spec/retiring", "value": ["10.98.0.5"]},
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
    ]
    after = store.patch(ENIS, name, operations=change, subresource="status")
    assert after["status"] == {"port": port_status("Ready")}
    assert after["spec"] == eni["spec"]
    assert "labels" not in after["metadata"]


def test_the_status_cannot_be_changed_through_the_spec(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    store.apply(
        ENIS, status_of(name, port=port_status("Ready")), manager=OPERATOR, subresource="status"
    )
    after = store.patch(
        ENIS, name, operations=[{"op": "replace", "path": "/status/port/name", "value": "x"}]
    )
    assert after["status"] == {"port": port_status("Ready")}
    applied = store.apply(
        ENIS, eni_body(name) | {"status": {"port": port_status("y")}}, manager=OPERATOR, force=True
    )
    assert applied["status"] == {"port": port_status("Ready")}


def test_two_managers_own_their_own_parts_of_a_status(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    mine = status_of(name, port=port_status("Attached"), conditions=[condition("PortReady")])
    theirs = status_of(name, node={"device": "eth1"}, conditions=[condition("LinkReady")])
    store.apply(ENIS, mine, manager=OPERATOR, subresource="status")
    both = store.apply(ENIS, theirs, manager=AGENT, subresource="status")["status"]
    assert both["port"]["name"] == "Attached"
    assert both["node"] == {"device": "eth1"}
    assert {c["type"] for c in both["conditions"]} == {"PortReady", "LinkReady"}


def test_what_a_manager_no_longer_names_goes_and_nothing_else(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    mine = status_of(
        name,
        port=port_status("Attached"),
        conditions=[condition("PortReady"), condition("Attached")],
    )
    theirs = status_of(name, node={"device": "eth1"}, conditions=[condition("LinkReady")])
    store.apply(ENIS, mine, manager=OPERATOR, subresource="status")
    store.apply(ENIS, theirs, manager=AGENT, subresource="status")
    less = status_of(name, conditions=[condition("PortReady", "False")])
    after = store.apply(ENIS, less, manager=OPERATOR, subresource="status")["status"]
    assert "port" not in after
    assert after["node"] == {"device": "eth1"}
    assert {c["type"]: c["status"] for c in after["conditions"]} == {
        "PortReady": "False",
        "LinkReady": "True",
    }


def test_applying_the_same_again_changes_nothing(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    mine = status_of(name, port=port_status("Attached"), conditions=[condition("PortReady")])
    first = store.apply(ENIS, mine, manager=OPERATOR, subresource="status")
    second = store.apply(ENIS, mine, manager=OPERATOR, subresource="status")
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_field_of_another_manager_is_taken_by_force_only(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    store.apply(
        ENIS, status_of(name, port=port_status("mine")), manager=OPERATOR, subresource="status"
    )
    other = status_of(name, port=port_status("theirs"))
    with pytest.raises(ConflictError, match="port"):
        store.apply(ENIS, other, manager=AGENT, subresource="status", force=False)
    taken = store.apply(ENIS, other, manager=AGENT, subresource="status")
    assert taken["status"]["port"]["name"] == "theirs"
    left = store.apply(ENIS, status_of(name), manager=OPERATOR, subresource="status")
    assert left["status"]["port"]["name"] == "theirs"


def test_apply_replaces_lists_of_one_owner_whole(store: Store, eni: Json) -> None:
    name = eni["metadata"]["name"]
    for addresses in (["10.98.0.5", "10.98.0.6"], ["10.98.0.6", "10.98.0.7"]):
        node = {"retired": [{"address": a, "generation": 2} for a in addresses]}
        after = store.apply(ENIS, status_of(name, node=node), manager=AGENT, subresource="status")
        assert [r["address"] for r in after["status"]["node"]["retired"]] == addresses


def test_applying_the_same_again_with_an_old_version_is_a_conflict(store: Store, eni: Json) -> None:
    """What was read is confirmed by a write of it."""
    name = eni["metadata"]["name"]
    mine = status_of(name, port=port_status("a"))
    old = store.apply(ENIS, mine, manager=OPERATOR, subresource="status")["metadata"]
    seen: Json = mine | {"metadata": {"name": name, "resourceVersion": old["resourceVersion"]}}
    store.apply(ENIS, seen, manager=OPERATOR, subresource="status")
    theirs = status_of(name, node={"device": "eth1"})
    store.apply(ENIS, theirs, manager=AGENT, subresource="status")
    with pytest.raises(ConflictError):
        store.apply(ENIS, seen, manager=OPERATOR, subresource="status")


def test_apply_with_an_old_version_is_a_conflict(store: Store, eni: Json) -> None:
    name, old = eni["metadata"]["name"], eni["metadata"]["resourceVersion"]
    store.apply(
        ENIS, status_of(name, port=port_status("a")), manager=OPERATOR, subresource="status"
    )
    body = {
        "metadata": {"name": name, "resourceVersion": old},
        "status": {"port": port_status("b")},
    }
    with pytest.raises(ConflictError):
        store.apply(ENIS, body, manager=OPERATOR, subresource="status")


def test_another_uid_is_refused_in_the_object_but_not_seen_in_its_status(
    store: Store, eni: Json
) -> None:
    name = eni["metadata"]["name"]
    other = {"name": name, "uid": "00000000-0000-0000-0000-000000000000"}
    with pytest.raises(InvalidError, match=r"metadata\.uid"):
        store.apply(ENIS, eni_body(name) | {"metadata": other}, manager=OPERATOR)
    body = {"metadata": other, "status": {"port": port_status("b")}}
    after = store.apply(ENIS, body, manager=OPERATOR, subresource="status")
    assert after["metadata"]["uid"] == eni["metadata"]["uid"]
