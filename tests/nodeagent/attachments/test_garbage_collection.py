"""A runtime's list may be older than an ADD: what that ADD has got, or uses again, stays."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_nodeagent.attachments import commands
from openeni_nodeagent.attachments.garbage_collection import GC_AGE_SECONDS, stale_grants
from openeni_testing.agent.failed_adds import add, call, with_node
from openeni_testing.agent.parts import AgentParts


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects()
    with_node(made)
    return made


def test_an_add_that_is_repeated_makes_its_grant_young_again_and_not_its_beginning(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = parts.grant("web", "c1")
    parts.sync(look=False)
    later = grant.at + GC_AGE_SECONDS
    monkeypatch.setattr(commands, "boot_seconds", lambda: later)
    assert stale_grants(parts.grants.all(), (), lambda _: False, later + 1) == (grant,)
    add(parts, grant.attachment.pod_uid)
    known = parts.grants.all()
    assert stale_grants(known, (), lambda _: False, later + 1) == ()
    assert stale_grants(known, (), lambda _: False, later + GC_AGE_SECONDS + 1) == known
    assert [(one.addresses, one.at) for one in known] == [(grant.addresses, grant.at)]
    parts.detacher.delete("c1", "eth0", "")
    parts.log.flush()
    began, ended = map(json.loads, parts.log_lines)
    apart = datetime.fromisoformat(ended["began"]) - datetime.fromisoformat(began["time"])
    assert abs(apart) < timedelta(seconds=10)


def test_no_annotation_of_another_namespaces_pod_keeps_a_grant(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = parts.grant("web", "c1")
    uid = grant.attachment.pod_uid
    annotations = {"kubernetes.io/config.hash": uid, "kubernetes.io/config.mirror": uid}
    forged = {"name": "web", "namespace": "tenant", "annotations": annotations, "uid": "f00d"}
    later = grant.at + 2 * GC_AGE_SECONDS
    monkeypatch.setattr(commands, "boot_seconds", lambda: later)
    parts.sync(look=False)
    gc: dict[str, object] = {"cni.dev/valid-attachments": []}
    call(parts, "GC", uid, config=gc)
    assert parts.grants.all() == (grant,)
    parts.store.delete(names.PODS, "web", "default")
    parts.sync(look=False)
    parts.caches.pods.put({"metadata": forged})
    call(parts, "GC", uid, config=gc)
    assert parts.grants.all() == ()
