"""A pod is as planned only after a look into it that has found its NIC where it is now."""

from dataclasses import replace
from pathlib import Path

import pytest

from openeni_crds.conditions import Reason
from openeni_nodeagent.datapath_api import Hold, NodeReport, NodeSnapshot, WantedNode
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects()
    return made


def test_a_pod_whose_nic_comes_again_while_a_look_lasts_is_not_as_planned_until_the_next_one(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of ipvlan has lost its interface with its NIC."""
    pod = parts.grant("web", "c1").attachment
    parts.sync()
    assert parts.looks.difference(pod) is None
    reconcile = parts.datapath.reconcile

    def plug_again(snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        parts.datapath.plugged[node_objects.mac(0)] += 1
        return reconcile(snapshot, wanted, hold)

    with monkeypatch.context() as patch:
        patch.setattr(parts.datapath, "reconcile", plug_again)
        for _ in range(2):
            parts.sync()
            difference = parts.looks.difference(pod)
            assert difference is not None
            assert difference.reason == Reason.WAITING_FOR_NIC
    parts.sync()
    assert parts.looks.difference(pod) is None


def test_one_that_no_look_could_look_into_is_not_as_planned_until_one_has(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call for its container runs."""
    grant = parts.grant("web", "c1")
    parts.sync()
    reconcile = parts.datapath.reconcile

    def into_what_is_held(snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        report = reconcile(snapshot, wanted, hold)
        with hold(report.looked_into.keys()) as held:
            return replace(report, looked_into=dict.fromkeys(held, ""))

    monkeypatch.setattr(parts.datapath, "reconcile", into_what_is_held)
    parts.datapath.plugged[node_objects.mac(0)] += 1
    with parts.locks.locked("c1"):
        parts.sync()
        assert parts.looks.difference(grant.attachment) is not None
    parts.sync()
    assert parts.looks.difference(grant.attachment) is None
