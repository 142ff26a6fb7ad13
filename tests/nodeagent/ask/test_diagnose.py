"""What one node's agent finds when it is asked: journal, kernel, ENIs and PodIPs compared."""

import json
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.conditions import Reason, Type, condition, merge
from openeni_crds.meta import Json, encode
from openeni_crds.names import ENIS, MANAGER_AGENT, PODIPS
from openeni_kube.answers import Diagnosis
from openeni_kube.command_line import Question
from openeni_kube.store import UnreachableError
from openeni_nodeagent.ask import answer as asked
from openeni_nodeagent.ask.diagnose import NotServingError, diagnose
from openeni_nodeagent.attachments.detacher import pod_interface
from openeni_nodeagent.settings import Settings, from_environment
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import NODE_FACTS, AgentParts
from openeni_testing.objects import podip_body

BOOT: Final = "boot"


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    """Return an agent that has a ready ENI, and a pod with a PodIP."""
    made = AgentParts(tmp_path)
    made.create_objects()
    made.grants.remember_node(NODE_FACTS)
    publish(made, "web", "c1")
    return made


def settings(parts: AgentParts) -> Settings:
    return from_environment({"NODE_NAME": parts.node, "OPENENI_RUN": str(parts.folder)})


def publish(parts: AgentParts, name: str, container: str) -> str:
    """Grant an address to a pod and publish its PodIP; return the address."""
    grant = parts.grant(name, container)
    body = podip_body(name, node=parts.node)
    body["spec"] |= {"eniName": grant.eni, "address": grant.addresses[0]}
    parts.store.create(PODIPS, body)
    return grant.addresses[0]


def refuse(*_: object, **__: object) -> None:
    raise UnreachableError(0, "refused")


def look(parts: AgentParts) -> Diagnosis:
    return diagnose(settings(parts), parts.store, parts.datapath, BOOT)


def found(parts: AgentParts) -> list[tuple[str, str, str]]:
    return [(d.kind, d.name, d.reason) for d in look(parts).differences]


def link_ready(parts: AgentParts, reason: Reason, *, status: bool) -> None:
    """Set the ENI's LinkReady as its agent does."""
    conditions = merge((), (condition(Type.LINK_READY, reason, status=status),), node_objects.NOW)
    body: Json = {
        "metadata": {"name": "pods-0"},
        "status": {"conditions": [encode(c) for c in conditions]},
    }
    parts.store.apply(ENIS, body, manager=MANAGER_AGENT, subresource="status")


def test_what_agrees_is_no_difference_and_the_journal_is_not_touched(parts: AgentParts) -> None:
    journal = parts.folder / "journal"
    before = journal.read_bytes(), journal.stat().st_ino
    answer = look(parts)
    assert answer == Diagnosis(compared={"ENIs": 1, "pods": 1, "PodIPs": 1})
    assert (journal.read_bytes(), journal.stat().st_ino) == before


def test_a_pod_whose_datapath_differs_is_named(parts: AgentParts) -> None:
    (grant,) = parts.grants.all()
    parts.datapath.lose(grant.addresses[0])
    assert found(parts) == [("PodIP", "default/web", Reason.KERNEL_REFUSED)]


def test_a_nic_that_is_missing_is_named_once_it_should_be_there(parts: AgentParts) -> None:
    parts.datapath.nics.clear()
    link_ready(parts, Reason.WAITING_FOR_NIC, status=False)
    assert not [name for kind, name, _ in found(parts) if kind == "ENI"]
    link_ready(parts, Reason.LINK_UP, status=True)
    assert ("ENI", "pods-0", Reason.NIC_MISSING) in found(parts)


def test_a_pod_without_its_podip_is_named(parts: AgentParts) -> None:
    parts.store.delete(PODIPS, "web", "default")
    assert found(parts) == [("PodIP", "default/web", "")]
    (only,) = look(parts).differences
    assert "and no PodIP" in only.message
    assert only.remedy


def test_a_podip_with_another_address_is_named(parts: AgentParts) -> None:
    body = parts.store.get(PODIPS, "web", "default")
    parts.store.delete(PODIPS, "web", "default")
    body["spec"]["address"] = "10.98.0.99"
    parts.store.create(PODIPS, body)
    assert found(parts) == [("PodIP", "default/web", "")]
    assert "10.98.0.99" in look(parts).differences[0].message


def test_an_address_that_has_left_the_port_is_named(parts: AgentParts) -> None:
    (grant,) = parts.grants.all()
    change = [{"op": "replace", "path": "/status/port/addresses", "value": ["10.98.0.77"]}]
    parts.store.patch(ENIS, "pods-0", operations=change, subresource="status")
    assert found(parts) == [("PodIP", "default/web", Reason.ADDRESS_NOT_ON_PORT)]
    assert grant.addresses[0] in look(parts).differences[0].message


def test_a_podip_without_its_pod_is_named(parts: AgentParts) -> None:
    body = podip_body("gone", node=parts.node)
    body["spec"] |= {"eniName": "pods-0", "address": "10.98.0.7"}
    parts.store.create(PODIPS, body)
    assert found(parts) == [("PodIP", "default/gone", "")]


def test_what_the_kernel_has_of_a_pod_that_has_gone_is_named(parts: AgentParts) -> None:
    (grant,) = parts.grants.all()
    parts.store.delete(PODIPS, "web", "default")
    journal = parts.folder / "journal"
    kept = [line for line in journal.read_bytes().splitlines(True) if b'"granted"' not in line]
    journal.write_bytes(b"".join(kept))
    ((kind, name, reason),) = found(parts)
    assert (kind, name, reason) == ("Node", parts.node, "")
    assert grant.addresses[0] in look(parts).differences[0].message


def test_a_grant_that_is_being_connected_is_no_difference(parts: AgentParts) -> None:
    grant = parts.grant("next", "c2", connect=False)
    facts = parts.grants.facts_of(grant)
    assert facts is not None
    parts.datapath.add(pod_interface(grant, facts), grant.netns)
    assert found(parts) == []


def test_before_the_agent_knows_its_node_there_is_no_answer(tmp_path: Path) -> None:
    fresh = AgentParts(tmp_path)
    fresh.create_objects()
    with pytest.raises(NotServingError, match="has not read its Node yet"):
        look(fresh)
    (tmp_path / "journal").unlink()
    with pytest.raises(NotServingError, match="cannot be read"):
        look(fresh)


def test_a_journal_of_another_boot_is_none(parts: AgentParts) -> None:
    with pytest.raises(NotServingError):
        diagnose(settings(parts), parts.store, parts.datapath, "another boot")


def test_the_answer_is_one_object_with_its_exit_code(
    parts: AgentParts, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = parts.folder / "boot_id"
    boot.write_text(f"{BOOT}\n")
    monkeypatch.setattr(asked, "BOOT_ID", boot)
    monkeypatch.setattr(asked, "CONFIRM_SECONDS", 0.0)

    def answer() -> Json:
        question = Question("diagnose")
        code = asked.answer(question, settings(parts), parts.store, parts.datapath)
        (line,) = capsys.readouterr().out.splitlines()
        return {"code": code, **json.loads(line)}

    assert answer()["code"] == 0
    parts.store.delete(PODIPS, "web", "default")
    assert [d["name"] for d in answer()["differences"]] == ["default/web"]
    assert answer()["code"] == 1
    monkeypatch.setattr(parts.store, "list", refuse)
    unanswered = answer()
    assert (unanswered["code"], "refused" in unanswered["error"]) == (3, True)
