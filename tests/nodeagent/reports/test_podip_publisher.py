"""PodIPs follow the grants from any state, and those of other nodes or pods are not touched."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openeni_crds import names
from openeni_crds.conditions import Reason, Status, Type, find, is_true
from openeni_crds.meta import Json, decode
from openeni_crds.podip import PodIP
from openeni_kube.result import Done, RequeueAfter, Result, Retry
from openeni_kube.store import NotFoundError
from openeni_nodeagent.datapath_api import NoCarrierError
from openeni_nodeagent.enis import link_reports
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_nodeagent.reports.podip_publisher import BLOCKED_SECONDS, RECREATE_SECONDS
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts
from openeni_testing.objects import podip_body, remove
from openeni_testing.store.hooked import HookedStore

KEY = "default/web"


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects()
    return made


def podip(parts: AgentParts, name: str = "web") -> PodIP | None:
    try:
        return decode(parts.store.get(names.PODIPS, name, "default"), PodIP)
    except NotFoundError:
        return None


def settled(parts: AgentParts, rounds: int = 5) -> Result:
    """Reconcile as often as the queue would; return the last result."""
    again: Result = RequeueAfter(0)
    for _ in range(rounds):
        parts.sync()
        again = parts.publisher.reconcile(KEY)
        if again == Done():
            break
    parts.sync()
    return again


def shows(found: PodIP | None, grant: Grant) -> bool:
    """Return True if the PodIP is that grant's, and Ready."""
    return (
        found is not None
        and found.spec.pod_uid == grant.attachment.pod_uid
        and found.spec.container_id == grant.attachment.container_id
        and found.spec.addresses == grant.addresses
        and is_true(found.status.conditions, Type.READY)
    )


# What may stand in the API before a reconcile, beside the grant of a running pod.


def nothing(parts: AgentParts, grant: Grant) -> None:
    pass


def published(parts: AgentParts, grant: Grant) -> None:
    assert settled(parts) == Done()


def changed_by_hand(parts: AgentParts, grant: Grant) -> None:
    published(parts, grant)
    wrong: list[Json] = [
        {"op": "replace", "path": "/spec/address", "value": "10.1.1.1"},
        {"op": "replace", "path": "/spec/containerID", "value": "other"},
    ]
    parts.store.patch(names.PODIPS, "web", "default", operations=wrong)


def without_a_status(parts: AgentParts, grant: Grant) -> None:
    published(parts, grant)
    bare: list[Json] = [{"op": "replace", "path": "/status", "value": {}}]
    parts.store.patch(names.PODIPS, "web", "default", operations=bare, subresource="status")


def of_an_older_sandbox(parts: AgentParts, grant: Grant) -> None:
    older = parts.grant("web", "older", grant.attachment.pod_uid)
    parts.grants.end_grant(grant, EndReason.DELETED)
    published(parts, older)
    again = parts.grant("web", grant.attachment.container_id, grant.attachment.pod_uid)
    assert again.at > older.at


def of_a_pod_that_has_ended(parts: AgentParts, grant: Grant) -> None:
    parts.store.create(names.PODIPS, podip_body("web"))


def of_one_with_our_finalizer(parts: AgentParts, grant: Grant) -> None:
    body = podip_body("web")
    body["metadata"]["finalizers"] = [names.FINALIZER_PODIP, "example.com/theirs"]
    parts.store.create(names.PODIPS, body)


BEFORE = [
    nothing,
    published,
    changed_by_hand,
    without_a_status,
    of_an_older_sandbox,
    of_a_pod_that_has_ended,
]


@pytest.mark.parametrize("before", BEFORE, ids=lambda before: before.__name__)
def test_from_any_state_the_podip_becomes_that_of_the_newest_grant(
    parts: AgentParts, before: Callable[[AgentParts, Grant], None]
) -> None:
    before(parts, parts.grant("web", "c1"))
    assert settled(parts) == Done()
    newest = max(parts.grants.all(), key=lambda g: g.at)
    found = podip(parts)
    assert shows(found, newest)
    assert found is not None
    assert found.metadata.finalizers == (names.FINALIZER_PODIP,)


@pytest.mark.parametrize("before", BEFORE, ids=lambda before: before.__name__)
def test_from_any_state_the_podip_is_deleted_without_a_grant(
    parts: AgentParts, before: Callable[[AgentParts, Grant], None]
) -> None:
    before(parts, parts.grant("web", "c1"))
    parts.sync()
    for grant in parts.grants.all():
        parts.datapath.lose(grant.addresses[0])
        parts.grants.end_grant(grant, EndReason.DELETED)
    parts.store.delete(names.PODS, "web", "default")
    assert settled(parts) == Done()
    assert podip(parts) is None


@pytest.mark.parametrize("before", BEFORE, ids=lambda before: before.__name__)
def test_an_up_to_date_podip_is_not_written_again(
    parts: AgentParts, before: Callable[[AgentParts, Grant], None]
) -> None:
    before(parts, parts.grant("web", "c1"))
    settled(parts)
    watched: Any = HookedStore(parts.store)
    assert parts.publisher_on(watched).reconcile(KEY) == Done()
    assert watched.writes == []


def test_another_finalizer_is_left_and_the_new_pod_waits_for_it(parts: AgentParts) -> None:
    of_one_with_our_finalizer(parts, parts.grant("web", "c1"))
    assert settled(parts) == RequeueAfter(RECREATE_SECONDS)
    left = podip(parts)
    assert left is not None
    assert left.metadata.deleting
    assert left.metadata.finalizers == ("example.com/theirs",)
    remove(parts.store, names.PODIPS, "web", "default")
    assert settled(parts) == Done()
    assert shows(podip(parts), parts.grants.all()[0])


def test_a_pod_that_is_not_connected_yet_has_none(parts: AgentParts) -> None:
    parts.grant("web", "c1", connect=False)
    assert settled(parts) == Done()
    assert podip(parts) is None


def test_another_pods_of_that_name_that_the_cache_has_not_shown_is_waited_for(
    parts: AgentParts,
) -> None:
    parts.grant("web", "c1")
    parts.sync()
    theirs = parts.store.create(names.PODIPS, podip_body("web", node="n2"))
    assert parts.publisher.reconcile(KEY) == RequeueAfter(BLOCKED_SECONDS)
    assert parts.store.get(names.PODIPS, "web", "default") == theirs


def test_one_that_was_replaced_behind_the_cache_is_not_ended(parts: AgentParts) -> None:
    grant = parts.grant("web", "c1")
    published(parts, grant)
    parts.grants.end_grant(grant, EndReason.DELETED)
    remove(parts.store, names.PODIPS, "web", "default")
    body = podip_body("web")
    body["metadata"]["finalizers"] = [names.FINALIZER_PODIP]
    theirs = parts.store.create(names.PODIPS, body)
    parts.publisher.reconcile(KEY)
    assert parts.store.get(names.PODIPS, "web", "default") == theirs


def test_one_whose_address_the_kernel_carries_without_a_grant_is_kept(parts: AgentParts) -> None:
    published(parts, parts.grant("web", "c1"))
    (parts.folder / "journal").unlink()
    fresh = parts.restarted()
    fresh.sync(look=False)
    assert fresh.publisher.reconcile(KEY) == RequeueAfter(BLOCKED_SECONDS)
    assert podip(parts) is not None


def test_while_kubelet_makes_the_mirror_pod_of_a_static_pod_anew_its_podip_is_looked_at_again(
    parts: AgentParts,
) -> None:
    mirror = {"kubernetes.io/config.hash": "9d1f", "kubernetes.io/config.mirror": "9d1f"}
    first = node_objects.make_pod(parts.store, "web", mirror)
    parts.sync()
    grant = parts.grant("web", "c1", "9d1f")
    published(parts, grant)
    parts.grants.adopt(msgspec.structs.replace(grant, api_uid=first))  # as ADD records it
    parts.store.delete(names.PODS, "web", "default")
    parts.store.delete(names.PODIPS, "web", "default")  # as the garbage collector does
    parts.sync()
    assert parts.publisher.reconcile(KEY) == RequeueAfter(BLOCKED_SECONDS)
    second = node_objects.make_pod(parts.store, "web", mirror)
    assert settled(parts) == Done()
    found = podip(parts)
    assert found is not None
    assert found.spec.pod_uid == second != first


def test_an_outage_is_a_failure_that_names_the_podip_and_passes(parts: AgentParts) -> None:
    grant = parts.grant("web", "c1")
    parts.store.set_outage(outage=True)
    result = parts.publisher.reconcile(grant.pod_key)
    assert isinstance(result, Retry)
    assert re.search(r"PodIP default/web: .*outage", result.error)
    parts.store.set_outage(outage=False)
    assert settled(parts) == Done()
    assert shows(podip(parts), grant)


@pytest.mark.parametrize(
    ("count", "reason"), [(0, "AddressNotOnPort"), (None, "WaitingForPort"), (3, "Assigned")]
)
def test_assigned_follows_the_addresses_of_the_port(
    parts: AgentParts, count: int | None, reason: str
) -> None:
    parts.grant("web", "c1")
    if count is None:
        remove(parts.store, names.ENIS, "pods-0")
    else:
        node_objects.write_operator_status(parts.store, count=count)
    settled(parts)
    found = podip(parts)
    assert found is not None
    said = find(found.status.conditions, Type.ASSIGNED)
    assert said is not None
    assert said.reason == reason
    assert is_true(found.status.conditions, Type.READY) == (reason == "Assigned")


def test_without_the_nic_of_its_eni_or_its_carrier_a_pod_is_not_ready(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_reports, "CARRIER_LOST_SECONDS", 0.0)
    published(parts, parts.grant("web", "c1"))
    nics = set(parts.datapath.nics)
    for seen, error, wanted in (
        (set[str](), None, (Status.FALSE, Reason.WAITING_FOR_NIC)),
        (nics, NoCarrierError("ens7 has none"), (Status.FALSE, Reason.NO_CARRIER)),
        (nics, None, (Status.TRUE, Reason.APPLIED)),
    ):
        parts.datapath.nics, parts.datapath.eni_error = seen, error
        parts.sync()
        assert settled(parts) == Done()
        found = podip(parts)
        assert found is not None
        built = find(found.status.conditions, Type.DATAPATH_READY)
        assert built is not None
        assert (built.status, built.reason) == wanted
        assert is_true(found.status.conditions, Type.READY) == (built.status == Status.TRUE)


def test_a_datapath_that_cannot_be_restored_is_reported_until_it_is(parts: AgentParts) -> None:
    grant = parts.grant("web", "c1")
    published(parts, grant)
    parts.datapath.lose(grant.addresses[0])
    parts.datapath.refused = "EPERM"
    parts.sync()
    assert settled(parts) == Done()
    found = podip(parts)
    assert found is not None
    wrong = [find(found.status.conditions, t) for t in (Type.DATAPATH_READY, Type.READY)]
    assert [(c.status, c.reason, c.message) for c in wrong if c] == [
        (Status.FALSE, Reason.KERNEL_REFUSED, "the pod has no route")
    ] * 2
    parts.datapath.refused = ""
    for _ in range(2):  # the one builds it again, the other finds it
        parts.sync()
    assert settled(parts) == Done()
    found = podip(parts)
    assert found is not None
    assert is_true(found.status.conditions, Type.READY)
