"""Looks into pods whose ADD or DEL goes on meanwhile."""

from dataclasses import replace
from pathlib import Path

import pytest

from openeni_kube.result import RequeueAfter
from openeni_nodeagent.attachments import wanted_pods
from openeni_nodeagent.attachments.detacher import pod_interface
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_nodeagent.grants.netns_identity import identify
from openeni_nodeagent.looks.pod_looks import LOOK_PERIOD_SECONDS
from openeni_testing.agent.clock import Clock
from openeni_testing.agent.parts import NODE_FACTS, AgentParts


def test_a_pod_whose_del_ends_during_a_look_is_not_called_unready(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runtime removes the path after the answer."""
    pod = parts.grant("web", "web")

    def ended(path: str, grant: Grant) -> bool:
        parts.grants.end_grant(grant, EndReason.DELETED)
        Path(path).unlink()
        return False

    monkeypatch.setattr(wanted_pods, "leads_to_pod", ended)
    parts.looks.look_into(pod.attachment)
    parts.look()
    assert parts.grants.all() == ()
    assert parts.looks.difference(pod.attachment) is None


def test_a_pod_that_gets_another_namespace_during_a_look_is_not_called_unready(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second ADD names the path of one that the runtime has made anew."""
    pod = parts.grant("web", "web")
    other = parts.netns("other")
    other.touch()
    netns_id = identify(str(other))
    assert netns_id is not None

    def moved(path: str, grant: Grant) -> bool:
        Path(path).unlink()
        parts.detacher.move(grant)
        known = parts.grants.move(grant, str(other), netns_id)
        facts = parts.grants.facts_of(known)
        assert facts is not None
        parts.grants.mark_connected(
            known, parts.datapath.add(pod_interface(known, facts), str(other))
        )
        return False

    with monkeypatch.context() as look:
        look.setattr(wanted_pods, "leads_to_pod", moved)
        parts.looks.look_into(pod.attachment)
        parts.look()
    assert parts.looks.difference(pod.attachment) is None
    parts.look()
    assert "web" in parts.datapath.looked_into


def test_a_pod_whose_add_goes_on_is_looked_into_once_it_is_built(
    parts: AgentParts, clock: Clock
) -> None:
    """It was planned with what the node had when its ADD began."""
    grant = parts.grant("web", "web", connect=False)
    facts = parts.grants.facts_of(grant)
    assert facts is not None
    pod_network = parts.datapath.add(pod_interface(grant, facts), grant.netns)
    cidrs = (*NODE_FACTS.service_cidrs, "10.112.0.0/16")
    parts.looks.set_node(replace(NODE_FACTS, service_cidrs=cidrs))
    assert parts.look() == RequeueAfter(LOOK_PERIOD_SECONDS)
    parts.grants.mark_connected(grant, pod_network)
    clock.now += LOOK_PERIOD_SECONDS
    parts.look()
    assert parts.datapath.looked_into["web"].service_cidrs == cidrs
