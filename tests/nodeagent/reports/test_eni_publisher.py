"""The agent's part of ENI.status follows grants and cool-downs, with few writes."""

import re
from pathlib import Path

import msgspec
import pytest

from openeni_crds import names
from openeni_crds.meta import Json
from openeni_kube.result import Done, RequeueAfter, Retry
from openeni_nodeagent.grants import grants as grants_module
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_nodeagent.reports import eni_publisher
from openeni_nodeagent.reports.eni_publisher import ENIPublisher
from openeni_testing.agent.parts import AgentParts
from openeni_testing.objects import remove


@pytest.mark.parametrize("cool_down", [2.2, 2.7, 3.2, 3.7])
def test_a_cool_down_that_ends_during_a_reconcile_is_seen_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cool_down: float
) -> None:
    """The clock passes the end of the cool-down between two looks at it: neither may be last."""
    now = [1000.0]

    def passing() -> float:
        now[0] += 0.5
        return now[0]

    monkeypatch.setattr(grants_module, "boot_seconds", passing)
    parts = AgentParts(tmp_path)
    parts.create_objects()
    status = parts.status
    parts.grants.end_grant(
        msgspec.structs.replace(parts.grant("web", "c1", connect=False), cool_down=cool_down),
        EndReason.DELETED,
    )
    parts.look()
    for _ in range(20):
        if status.reconcile("pods-0") == Done():
            break
        status = another(parts)  # as after the wait that it asked for
        parts.sync()
    said = shown(parts)
    assert (said["cooling"], said["available"]) == (0, 3)


def test_what_is_kept_on_an_eni_that_is_deleted_is_given_up_when_it_has_cooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(grants_module, "boot_seconds", lambda: now[0])
    parts = AgentParts(tmp_path)
    parts.create_objects()
    grant = parts.grant("web-0", "c1", connect=False)
    kept = msgspec.structs.replace(grant, cool_down=30.0, retention="1h")
    parts.grants.end_grant(kept, EndReason.DELETED)
    parts.store.delete(names.ENIS, "pods-0")
    parts.sync()
    again = parts.status.reconcile("pods-0")
    assert grant.addresses[0] not in retired(parts)
    assert isinstance(again, RequeueAfter)
    now[0] += again.seconds
    assert another(parts).reconcile("pods-0") == Done()
    assert grant.addresses[0] in retired(parts)


def test_after_a_write_the_next_one_waits_and_takes_all_of_a_burst_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eni_publisher, "WRITE_PERIOD_SECONDS", 1000.0)
    parts = AgentParts(tmp_path)
    parts.create_objects()
    assert parts.status.reconcile("pods-0") == Done()
    assert shown(parts)["granted"] == 0
    for name in ("a", "b", "c"):
        parts.grant(name, name)
        again = parts.status.reconcile("pods-0")
        assert isinstance(again, RequeueAfter)
        assert 0 < again.seconds <= 1000
    assert shown(parts)["granted"] == 0
    monkeypatch.setattr(eni_publisher, "WRITE_PERIOD_SECONDS", 0.0)
    assert parts.status.reconcile("pods-0") == Done()
    assert (shown(parts)["granted"], shown(parts)["available"]) == (3, 0)


def test_a_write_that_the_cache_does_not_show_yet_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eni_publisher, "WRITE_PERIOD_SECONDS", 0.0)
    monkeypatch.setattr(eni_publisher, "CACHE_LAG_SECONDS", 1000.0)
    parts = AgentParts(tmp_path)
    parts.create_objects()
    parts.status.reconcile("pods-0")
    parts.store.patch(
        names.ENIS,
        "pods-0",
        operations=[{"op": "remove", "path": "/status/node"}],
        subresource="status",
    )
    before = parts.store.get(names.ENIS, "pods-0")
    looked_at_again = parts.status.reconcile("pods-0")
    assert isinstance(looked_at_again, RequeueAfter), "somebody may have undone the write"
    assert looked_at_again.seconds > 0
    assert parts.store.get(names.ENIS, "pods-0") == before
    monkeypatch.setattr(eni_publisher, "CACHE_LAG_SECONDS", 0.0)
    assert parts.status.reconcile("pods-0") == Done()
    assert shown(parts)["available"] == 3


def test_an_outage_is_a_failure_that_names_the_eni(tmp_path: Path) -> None:
    parts = AgentParts(tmp_path)
    parts.create_objects()
    parts.store.set_outage(outage=True)
    result = parts.status.reconcile("pods-0")
    assert isinstance(result, Retry)
    assert re.search(r"status of ENI pods-0 not written: .*outage", result.error)


def test_an_eni_that_is_gone_is_no_error(tmp_path: Path) -> None:
    parts = AgentParts(tmp_path)
    parts.create_objects()
    remove(parts.store, names.ENIS, "pods-0")
    assert parts.status.reconcile("pods-0") == Done()
    parts.sync()
    assert parts.status.reconcile("pods-0") == Done()


def another(parts: AgentParts) -> ENIPublisher:
    return parts.eni_publisher()


def shown(parts: AgentParts) -> Json:
    node: Json = parts.store.get(names.ENIS, "pods-0")["status"]["node"]
    return node


def retired(parts: AgentParts) -> set[str]:
    return {answer["address"] for answer in shown(parts)["retired"]}
