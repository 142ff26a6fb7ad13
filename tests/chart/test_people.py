"""What people and other programs with every right that RBAC gives may try on openeni's kinds."""

from contextlib import suppress

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, ENIS, FINALIZER_ENIPOOL, PODIPS, Kind
from openeni_kube.store import ConflictError, StoreError
from openeni_kube.wire import object_path
from openeni_lab.kubernetes.certificates import Identity
from openeni_testing.admission import bodies
from openeni_testing.admission.cluster import grant_everything, may_do_everything
from openeni_testing.admission.target import ACCOUNTS, Attack, Target
from openeni_testing.admission.writes import (
    REMOVE,
    eni,
    new_eni,
    new_podip,
    podip,
    pool,
    unchanged,
)
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.cluster

ONLY_OURS = (
    "ENIs and PodIPs are written by openeni's operator and agents only; in an emergency act as a "
    "member of the group system:masters"
)
STATUS = "status: of an ENIPool it is written by openeni's operator only"
FINALIZER = (
    f"metadata.finalizers: {FINALIZER_ENIPOOL} is put on and taken off by openeni's operator"
)
NAMESAKE = "system:serviceaccount:default:openeni-agent"


def _as_a_namesake(t: Target) -> object:
    """Write as an account of the agent's name in another namespace."""
    subject = {"kind": "User", "name": NAMESAKE}
    grant_everything(t.cluster, "namesake", [subject])
    store = t.cluster.user(Identity(NAMESAKE, ("system:serviceaccounts:default",)))
    wait_for(lambda: may_do_everything(store), "the namesake's rights")
    body = bodies.podip(t.bare, t.mine.node, t.mine.eni_name, t.pool_name)
    return store.create(PODIPS, body)


ATTACKS = (
    Attack("ENI made", ONLY_OURS, new_eni(unchanged, who="alice")),
    Attack(
        "ENI's addresses wanted back", ONLY_OURS, eni("/spec/retiring", ["10.98.0.11"], who="alice")
    ),
    Attack("ENI labelled", ONLY_OURS, eni("/metadata/labels/a", "b", who="alice")),
    Attack("ENI annotated", ONLY_OURS, eni("/metadata/annotations", {"a": "b"}, who="alice")),
    Attack("ENI's finalizer off", ONLY_OURS, eni("/metadata/finalizers", REMOVE, who="alice")),
    Attack(
        "ENI's port", ONLY_OURS, eni("/status/port/macAddress", "fa:16:3e:00:00:00", who="alice")
    ),
    Attack("ENI's node", ONLY_OURS, eni("/status/node", {"device": "eth9"}, who="alice")),
    Attack("PodIP made", ONLY_OURS, new_podip(unchanged, who="alice")),
    Attack("PodIP's finalizer off", ONLY_OURS, podip("/metadata/finalizers", REMOVE, who="alice")),
    Attack("PodIP's container", ONLY_OURS, podip("/spec/containerID", "0", who="alice")),
    Attack("PodIP's status", ONLY_OURS, podip("/status/podInterface", "eth9", who="alice")),
    Attack("PodIP by a namesake of the agent", ONLY_OURS, _as_a_namesake),
    Attack("ENIPool's status", STATUS, pool("/status", {"eniCount": 9}, who="alice")),
    Attack("ENIPool's finalizer off", FINALIZER, pool("/metadata/finalizers", [], who="alice")),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_without_the_policies_it_succeeds(unguarded: Target, attack: Attack) -> None:
    attack.succeeds(unguarded)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_with_the_policies_it_is_refused(guarded: Target, attack: Attack) -> None:
    attack.is_refused(guarded)


MIGRATOR = "storage-version-migrator-controller"  # its account, and its field manager


def _body(t: Target, kind: Kind) -> Json:
    if kind == PODIPS:
        meta = t.mine.podip["metadata"]
        return t.admin.get(kind, meta["name"], meta["namespace"])
    return t.admin.get(kind, t.mine.eni_name if kind == ENIS else t.pool_name)


@pytest.mark.parametrize("kind", [ENIS, PODIPS, ENIPOOLS], ids=lambda k: k.name)
def test_what_changes_nothing_is_free_to_all_so_that_the_stored_form_can_be_changed(
    guarded: Target, kind: Kind
) -> None:
    """As Kubernetes' migrator does it, by an apply of nothing, and `kubectl replace`."""
    account = {"kind": "ServiceAccount", "name": MIGRATOR, "namespace": "kube-system"}
    with suppress(ConflictError):
        place = {"name": MIGRATOR, "namespace": "kube-system"}
        guarded.admin.create(ACCOUNTS, {"metadata": place})
    grant_everything(guarded.cluster, "migrator", [account])
    migrator = guarded.cluster.account(MIGRATOR, namespace="kube-system")
    wait_for(lambda: may_do_everything(migrator), "the migrator's rights")
    body = _body(guarded, kind)
    meta = body["metadata"]
    path = object_path(kind, meta["name"], meta.get("namespace", ""))
    kept = ("name", "namespace", "uid", "resourceVersion")
    nothing = {"metadata": {key: meta[key] for key in kept if key in meta}}
    migrator.apply(kind, nothing, manager=MIGRATOR)
    for store in (migrator, guarded.alice):
        store.request("PUT", path, body=body)
    assert _body(guarded, kind) == body
    changed = body | {"metadata": meta | {"annotations": {"a": "b"}}}
    if kind != ENIPOOLS:
        for store in (migrator, guarded.alice):
            with pytest.raises(StoreError, match=ONLY_OURS):
                store.request("PUT", path, body=changed)
        assert _body(guarded, kind) == body


def test_an_owner_of_fields_is_no_change_of_nothing(guarded: Target) -> None:
    """Who owns a field, too, keeps the operator from removing it."""
    eni = _body(guarded, ENIS)
    same = {"name": eni["metadata"]["name"], "uid": eni["metadata"]["uid"]}
    body = {key: eni[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": same}
    with pytest.raises(StoreError, match=ONLY_OURS):
        guarded.alice.apply(ENIS, body, manager="alice")


def test_an_administrator_owns_the_spec_of_a_pool(guarded: Target) -> None:
    pool("/spec/coolDown", "60s", who="alice")(guarded)
    pool("/metadata/labels", {"team": "payments"}, who="alice")(guarded)
    pool("/metadata/finalizers/-", "example.com/review", who="alice")(guarded)
    guarded.alice.create(ENIPOOLS, bodies.pool("hers"))


def test_an_administrator_deletes_what_rbac_allows(guarded: Target) -> None:
    meta = guarded.mine.podip["metadata"]
    guarded.alice.delete(PODIPS, meta["name"], meta["namespace"])
    guarded.alice.delete(ENIS, guarded.mine.eni_name)
    guarded.alice.delete(ENIPOOLS, guarded.pool_name)
    assert guarded.admin.get(ENIS, guarded.mine.eni_name)["metadata"]["deletionTimestamp"]


def test_the_emergency_group_takes_finalizers_off_and_puts_a_status_right(guarded: Target) -> None:
    bob = guarded.cluster.user(Identity("bob", ("system:masters",)))
    bob.patch(
        ENIS,
        guarded.mine.eni_name,
        operations=[{"op": "remove", "path": "/status/port"}],
        subresource="status",
    )
    meta = guarded.mine.podip["metadata"]
    off = [{"op": "remove", "path": "/metadata/finalizers"}]
    for kind, name, space in (
        (PODIPS, meta["name"], meta["namespace"]),
        (ENIS, guarded.mine.eni_name, ""),
        (ENIPOOLS, guarded.pool_name, ""),
    ):
        assert "finalizers" not in bob.patch(kind, name, space, operations=off)["metadata"]
