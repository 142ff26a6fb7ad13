"""An ADD that waits for long is an Event before it fails."""

import time
from pathlib import Path

import pytest

from openeni_nodeagent.attachments import pod_events
from openeni_nodeagent.attachments.pod_events import PodEvents
from openeni_nodeagent.grants.grant import Attachment
from openeni_nodeagent.grants.requests import GrantRequest, Wait
from openeni_testing.agent import node_objects
from openeni_testing.agent.failed_adds import failed_add, pod, with_node
from openeni_testing.agent.parts import AgentParts
from openeni_testing.controller.recorded_events import RecordedEvents


def test_one_add_that_waits_for_long_is_told_once_with_the_text_of_its_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = AgentParts(tmp_path)
    with_node(parts)
    node_objects.make_pool(parts.store)
    uid = pod(parts)
    now = time.monotonic()
    request = GrantRequest(Attachment(uid, "c1", "eth0"), "default", "web", "", "pods", 30.0, 0.0)
    waits = [Wait(request, now - pod_events.WAIT_SECONDS), Wait(request, now + 60)]
    events = RecordedEvents()
    monkeypatch.setattr(parts.grants, "waits", lambda: tuple(waits))
    made = PodEvents(events, parts.caches, parts.grants)
    for _ in range(3):
        made.note_waits()
    assert len(events.events) == 1
    made.note(failed_add(parts, uid))
    assert events.events[0] == events.events[1]  # one series
    waits.clear()
    made.note_waits()
    waits.append(Wait(request, now - pod_events.WAIT_SECONDS))
    made.note_waits()
    assert len(events.events) == 3  # the next ADD of the pod


def test_a_pool_that_is_gone_explains_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = AgentParts(tmp_path)
    request = GrantRequest(Attachment("1", "c1", "eth0"), "default", "web", "", "gone", 30.0, 0.0)
    events = RecordedEvents()
    monkeypatch.setattr(parts.grants, "waits", lambda: (Wait(request, 0.0),))
    PodEvents(events, parts.caches, parts.grants).note_waits()
    assert events.events == []
