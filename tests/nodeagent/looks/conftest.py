"""Fixtures of looks at a node in memory."""

from pathlib import Path

import pytest

from openeni_nodeagent.looks import datapath_reconciler, look_pace, pod_looks
from openeni_testing.agent.clock import Clock
from openeni_testing.agent.parts import AgentParts


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.of(monkeypatch, datapath_reconciler, look_pace, pod_looks)


@pytest.fixture
def parts(tmp_path: Path, clock: Clock) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects()
    return made
