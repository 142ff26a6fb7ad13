"""The log of grants: bounded, one JSON object a line, and nobody waits for it."""

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from openeni_crds import names
from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.clock import boot_seconds
from openeni_kube.store import Page, StoreError
from openeni_nodeagent import __main__ as entry
from openeni_nodeagent import readiness
from openeni_nodeagent.grants import grant_log
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grant_log import LOGGER, MOST_LINES, EndReason, GrantLog
from openeni_testing.agent.host import AgentHost, logged_cluster
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

GRANT = Grant(
    Attachment("uid", "c1", "eth0"),
    "default",
    "web",
    "",
    "pods-0",
    "pods",
    ("10.98.0.5", "2001:db8::5"),
    "Veth",
    1450,
    at=1.0,
    cool_down=30,
    port="port-0",
)


class Collected:
    def __init__(self) -> None:
        self.text: list[str] = []
        self.log = GrantLog("n1", self.text.append)

    def lines(self) -> list[Json]:
        self.log.flush()
        return [json.loads(line) for line in self.text]


def test_a_line_names_cluster_node_pod_and_addresses_and_what_ended_it() -> None:
    collected = Collected()
    collected.log.ended(GRANT, EndReason.POD_GONE)
    collected.log.cluster = "known by now"
    (line,) = collected.lines()
    times = [line.pop("time"), line.pop("began")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", t) for t in times)
    assert times[1] < times[0]
    assert line == {
        "event": "GrantEnded",
        "reason": "PodGone",
        "cluster": "known by now",
        "node": "n1",
        "namespace": "default",
        "pod": "web",
        "podUID": "uid",
        "containerID": "c1",
        "interface": "eth0",
        "addresses": ["10.98.0.5", "2001:db8::5"],
        "eni": "pods-0",
        "port": "port-0",
        "pool": "pods",
    }


def test_an_adopted_grant_has_no_beginning_that_anybody_knows() -> None:
    collected = Collected()
    adopted = msgspec.structs.replace(GRANT, at=0.0, api_uid="of the mirror pod")
    collected.log.adopted(adopted)
    collected.log.ended(adopted, EndReason.DELETED)
    first, last = collected.lines()
    assert (first["event"], first["podUID"]) == ("GrantAdopted", "of the mirror pod")
    assert "began" not in last


def test_a_log_that_nobody_reads_is_bounded_and_says_what_it_lost() -> None:
    collected = Collected()
    for _ in range(MOST_LINES + 7):
        collected.log.began(msgspec.structs.replace(GRANT, at=boot_seconds()))
    lines = collected.lines()
    assert len(lines) == MOST_LINES + 1
    assert lines[-1].items() >= {"event": "LinesLost", "lines": 7, "node": "n1"}.items()
    collected.log.began(GRANT)
    assert len(collected.lines()) == MOST_LINES + 2


def test_a_line_has_the_time_of_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    collected = Collected()
    monkeypatch.setattr(grant_log, "boot_seconds", lambda: 100.0)
    collected.log.began(GRANT)
    monkeypatch.setattr(grant_log, "boot_seconds", lambda: 160.0)
    (line,) = collected.lines()
    age = datetime.now(UTC) - datetime.fromisoformat(line["time"])
    assert 60 <= age.total_seconds() < 90


def test_no_field_is_longer_than_its_bound() -> None:
    collected = Collected()
    collected.log.began(msgspec.structs.replace(GRANT, name="x" * 100_000))
    (line,) = collected.lines()
    assert len(line["pod"]) == 256


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger(LOGGER)
    before = made.handlers[:], made.propagate, made.level
    yield made
    made.handlers[:], made.propagate, made.level = before


def test_the_lines_and_nothing_else_are_on_stdout(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    vars(entry)["_log_grants_to_stdout"]()
    log = GrantLog("n1")
    log.began(GRANT)
    log.flush()
    logging.getLogger("openeni_nodeagent.grants.grants").warning("for people")
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["GrantBegan"]
    assert "GrantBegan" not in err


class BusyStore(MemoryStore):
    """A store whose first list of the namespace kube-system is refused."""

    refused = False

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        if kind == names.NAMESPACES and field_selector and not self.refused:
            self.refused = True
            raise StoreError(429, "too many requests")
        return super().list(kind, field_selector=field_selector, label_selector=label_selector)


def test_the_cluster_is_asked_for_until_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "RETRY_SECONDS", 0.01)
    executable = tmp_path / "openeni"
    executable.write_bytes(b"")
    store = BusyStore(bookmark_seconds=0.2)
    cluster = store.create(names.NAMESPACES, {"metadata": {"name": "kube-system"}})
    host = AgentHost(tmp_path, executable, store=store)
    host.create_objects()
    with host.agent() as agent:
        wait_for(lambda: logged_cluster(agent) == cluster["metadata"]["uid"], "it is known")
    assert store.refused
