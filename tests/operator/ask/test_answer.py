"""The program in the operator's pod: one JSON object on standard output, and no change anywhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIPOOLS, NAMESPACES, NODES
from openeni_kube.command_line import Question
from openeni_kube.store import UnreachableError
from openeni_operator.ask.answer import ANSWERS, Sources, answer_from
from openeni_operator.cloud.call_limiter import NotLeadingError
from openeni_operator.settings import Settings
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.objects import pool_body
from openeni_testing.store.memory import MemoryStore

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def fake() -> Iterator[FakeOpenStack]:
    with FakeOpenStack() as cloud:
        cloud.state.add_subnet(cloud.state.add_network("pods"), "pods", "10.98.0.0/22")
        cloud.state.add_group("pods")
        yield cloud


@pytest.fixture
def settings(fake: FakeOpenStack, tmp_path: Path) -> Settings:
    fake.write_clouds_yaml(tmp_path / "clouds.yaml")
    return Settings(clouds_file=str(tmp_path / "clouds.yaml"))


@pytest.fixture
def store(fake: FakeOpenStack) -> MemoryStore:
    """Return a cluster with a pool and a node."""
    found = MemoryStore()
    found.create(NAMESPACES, {"metadata": {"name": "kube-system"}})
    found.create(ENIPOOLS, pool_body("pods"))
    server = fake.state.add_server("n1").id
    node: Json = {"metadata": {"name": "n1"}, "spec": {"providerID": f"openstack:///{server}"}}
    found.create(NODES, node)
    return found


def asked(question: Question, settings: Settings, store: MemoryStore, out: Capture) -> Json:
    """Ask, and return the one object that is printed, with the exit code."""
    code = answer_from(question, settings, store)
    (line,) = out.readouterr().out.splitlines()
    return {"code": code, **json.loads(line)}


def changes(fake: FakeOpenStack) -> list[str]:
    return [c.request.operation for c in fake.audit.calls if c.request.method != "GET"]


@pytest.mark.parametrize("name", ANSWERS)
def test_each_question_has_an_answer_and_changes_nothing(
    name: str, fake: FakeOpenStack, settings: Settings, store: MemoryStore, capsys: Capture
) -> None:
    before = [store.list_versions(kind) for kind in (ENIPOOLS, NODES, NAMESPACES)]
    found = asked(Question(name), settings, store, capsys)
    assert found["code"] == 0, found
    assert set(changes(fake)) == {"connect"}
    assert [store.list_versions(kind) for kind in (ENIPOOLS, NODES, NAMESPACES)] == before


def test_a_canary_is_tried_with_the_real_client_and_leaves_nothing(
    fake: FakeOpenStack,
    settings: Settings,
    store: MemoryStore,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openeni_operator.ask.canary.POLL_SECONDS", 0.01)
    found = asked(Question("preflight", "n1"), settings, store, capsys)
    canary = [check for check in found["checks"] if check["name"] == "canary"]
    assert {check["verdict"] for check in canary} == {"passed"}, canary
    assert "with 16 addresses" in canary[0]["message"]
    assert fake.state.ports.all() == []
    done = [c for c in changes(fake) if c != "connect"]
    assert done == ["create port", "attach port", "probe fixed IPs", "detach port", "delete port"]


@pytest.mark.parametrize("name", ["diagnose", "sweep"])
def test_no_other_question_may_change_the_cloud(
    name: str,
    fake: FakeOpenStack,
    settings: Settings,
    store: MemoryStore,
    *,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The limiter refuses, whatever the code does; a node on the command line is no licence."""
    calls = dict(ANSWERS)

    def delete(question: Question, sources: Sources) -> int:
        with pytest.raises(NotLeadingError):
            sources.cloud("default").delete_port("port")
        return calls[name](question, sources)

    monkeypatch.setattr("openeni_operator.ask.answer.ANSWERS", calls | {name: delete})
    asked(Question(name, "n1"), settings, store, capsys)
    assert set(changes(fake)) == {"connect"}


def test_without_a_clouds_yaml_the_answer_says_so(
    store: MemoryStore, tmp_path: Path, capsys: Capture
) -> None:
    missing = Settings(clouds_file=str(tmp_path / "none.yaml"))
    found = asked(Question("preflight"), missing, store, capsys)
    assert found["code"] == 1
    (check,) = found["checks"]
    assert (check["verdict"], check["reason"]) == ("failed", "CloudNotConfigured")
    assert "none.yaml" in check["message"]


def test_without_an_api_server_there_is_no_answer(
    settings: Settings, store: MemoryStore, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UnreachableError(0, "connection refused")

    monkeypatch.setattr(store, "get", refuse)
    found = asked(Question("diagnose"), settings, store, capsys)
    assert (found["code"], "connection refused" in found["error"]) == (3, True)
