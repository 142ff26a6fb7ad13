"""`openeni whois`: whose an address is, or was, and what is not known."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import ENIS, PODIPS
from openeni_kube.store import UnreachableError
from openeni_testing.cli_cluster import READY, CliCluster, ago, condition
from openeni_testing.objects import port_status

Capture = pytest.CaptureFixture[str]
ADDRESS = "10.98.0.5"


def line(event: str, time: str, pod: str, **more: Any) -> str:
    """Return a line of an agent's log of grants."""
    fields: Json = {
        "event": event,
        "time": f"2026-11-24T{time}.000Z",
        "cluster": "1c0ffee1",
        "node": "n1",
        "namespace": "shop",
        "pod": pod,
        "podUID": f"uid-of-{pod}",
        "containerID": f"c-{pod}",
        "interface": "eth0",
        "eni": "pods-0",
        "port": "port-0",
        "pool": "pods",
        "addresses": [ADDRESS],
    }
    return json.dumps(fields | more, separators=(",", ":"))


LOG = [
    line("GrantBegan", "09:00:00", "first", addresses=["10.98.0.9"]),
    line("GrantBegan", "10:00:00", "web-0"),
    line("GrantEnded", "11:00:00", "web-0", reason="Deleted"),
    line("GrantBegan", "12:00:00", "web-1"),
]


def at(time: str) -> tuple[str, str]:
    return "--at", f"2026-11-24T{time}Z"


def asked(cluster: CliCluster, capsys: Capture, *words: str) -> Json:
    cluster.run("whois", ADDRESS, "-o", "json", *words)
    found: Json = json.loads(capsys.readouterr().out)
    return found


def test_the_pod_that_has_an_address_now(cluster: CliCluster, capsys: Capture) -> None:
    cluster.eni("pods-2f1f9a3e-0", port=port_status("p") | {"addresses": [ADDRESS]})
    cluster.podip("web-0")
    assert cluster.run("whois", ADDRESS) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{ADDRESS}: pod default/web-0\n")
    assert "ENI       pods-2f1f9a3e-0" in text
    assert "port      b7a1f2de" in text


def test_an_address_of_the_other_family_is_found_however_it_is_written(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.podip("web-0", addressIPv6="2001:db8::5")
    assert cluster.run("whois", "2001:DB8:0::5") == 0
    assert capsys.readouterr().out.startswith("2001:db8::5: pod default/web-0\n")


@pytest.mark.parametrize(
    ("address", "says", "verdict"),
    [
        ("10.98.0.10", "node n1 itself", "Node"),
        ("10.98.0.11", "no pod's, on ENI pods-0 of node n1", "Free"),
        ("10.98.0.12", "nobody's", "Nobody"),
    ],
)
def test_an_address_that_no_pod_has(
    cluster: CliCluster, capsys: Capture, address: str, says: str, verdict: str
) -> None:
    cluster.eni("pods-0")
    code = cluster.run("whois", address)
    assert capsys.readouterr().out.startswith(f"{address}: {says}\n")
    assert code == (1 if verdict == "Nobody" else 0)


def test_an_address_that_is_kept_is_said_to_be(cluster: CliCluster, capsys: Capture) -> None:
    kept = condition("Retained", "Retained", status="True")
    cluster.podip("web-0", READY, kept, retention="1h")
    found = asked(cluster, capsys)
    assert found["verdict"] == "Retained"


@pytest.mark.parametrize(
    ("time", "pod", "verdict"),
    [
        ("10:00:00", "web-0", "Pod"),
        ("10:59:59", "web-0", "Pod"),
        ("11:00:00", None, "Nobody"),  # the end is not the pod's any more
        ("11:30:00", None, "Nobody"),
        ("12:00:00", "web-1", "Pod"),
        ("23:00:00", "web-1", "Pod"),
        ("09:30:00", None, "Nobody"),  # the log is older than this
        ("08:00:00", None, "Unknown"),
    ],
)
def test_the_holder_at_a_time_by_a_file(
    tmp_path: Path, capsys: Capture, time: str, pod: str | None, verdict: str
) -> None:
    file = tmp_path / "agents.log"
    file.write_text("\n".join(LOG))
    cluster = CliCluster()
    found = asked(cluster, capsys, *at(time), "--log", str(file))
    assert found["verdict"] == verdict
    assert (found["holder"]["pod"] if found["holder"] else None) == pod
    assert cluster.store.asked == set()  # the file is enough


def test_what_the_log_does_not_tell_is_said(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "agents.log"
    lost = line("LinesLost", "12:30:00", "", lines=4, addresses=[])
    file.write_text("\n".join([*LOG, lost]))
    CliCluster().run("whois", ADDRESS, *at("13:00:00"), "--log", str(file))
    text = capsys.readouterr().out
    assert "the log has no end of this grant" in text
    assert "4 lines of node n1 were lost" in text


def test_a_node_whose_log_begins_later_may_have_had_it(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "agents.log"
    other = line("GrantBegan", "11:05:00", "other", node="n2", addresses=["10.98.7.7"])
    file.write_text("\n".join([*LOG, other]))
    found = asked(CliCluster(), capsys, *at("11:10:00"), "--log", str(file))
    assert found["verdict"] == "Unknown"
    assert "the log of n2 begins later" in found["notes"][0]


def test_standard_input_is_a_log(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(LOG)))
    found = asked(CliCluster(), capsys, "--log", "-")
    assert [h["pod"] for h in found["history"]] == ["web-0", "web-1"]
    assert found["holder"]["pod"] == "web-1"


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path, capsys: Capture) -> None:
    assert CliCluster().run("whois", ADDRESS, "--log", str(tmp_path / "none")) == 3
    (said,) = capsys.readouterr().err.splitlines()
    assert "cannot read the log" in said
    assert str(tmp_path) in said


def test_the_agents_logs_answer_about_the_past_those_before_a_restart_too(
    cluster: CliCluster, capsys: Capture
) -> None:
    restarted: list[Json] = [{"name": "agent", "restartCount": 1, "state": {"running": {}}}]
    cluster.workload_pod("openeni-agent-n2", "agent", "n2", containerStatuses=restarted)
    cluster.logs.texts = {
        ("openeni-agent-n2", True): LOG[:3],
        ("openeni-agent-n2", False): ["2026-11-24 INFO openeni_nodeagent: started", LOG[3]],
        ("openeni-agent-n1", False): [LOG[0].replace('"n1"', '"n3"')],
    }
    assert cluster.run("whois", ADDRESS, *at("10:30:00")) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"{ADDRESS} at 2026-11-24T10:30:00Z: pod shop/web-0\n")
    assert "ended     2026-11-24T11:00:00.000Z (Deleted)" in text


def test_a_log_that_is_not_to_be_had_is_said(cluster: CliCluster, capsys: Capture) -> None:
    cluster.logs.refused["openeni-agent-n1"] = UnreachableError(0, "the kubelet does not answer")
    found = asked(cluster, capsys, *at("10:30:00"))
    assert found["verdict"] == "Unknown"
    assert any("the kubelet does not answer" in note for note in found["notes"])


def test_a_podip_that_is_older_than_the_time_is_enough(
    cluster: CliCluster, capsys: Capture
) -> None:
    cluster.podip("web-0", created=7200)
    found = asked(cluster, capsys, "--at", ago(600))
    assert found["holder"]["pod"] == "web-0"
    assert not cluster.logs.texts


def test_a_sticky_podip_may_be_older_than_its_pod(cluster: CliCluster, capsys: Capture) -> None:
    cluster.podip("web-0", created=7200, retention="Forever")
    found = asked(cluster, capsys, "--at", ago(600))
    assert (found["verdict"], found["holder"]["pod"]) == ("Retained", "web-0")
    assert "the log does not tell" in found["notes"][0]


def test_a_grant_that_began_before_the_log_and_goes_on_is_not_in_it(
    tmp_path: Path, capsys: Capture
) -> None:
    """A file alone does not tell that nobody has an address; a cluster's PodIPs do."""
    file = tmp_path / "agents.log"
    file.write_text(LOG[0])
    words = (*at("13:00:00"), "--log", str(file))
    assert asked(CliCluster(), capsys, *words)["verdict"] == "Unknown"
    cluster = CliCluster()
    cluster.install("n1")
    cluster.logs.texts["openeni-agent-n1", False] = [LOG[0]]
    assert asked(cluster, capsys, *at("13:00:00"))["verdict"] == "Nobody"


def test_only_podips_of_the_address_are_read(cluster: CliCluster, capsys: Capture) -> None:
    cluster.podip("web-0")
    cluster.podip("web-1", address="10.98.0.6")
    asked(cluster, capsys)
    assert cluster.store.asked == {PODIPS, ENIS}


@pytest.mark.parametrize(
    "words",
    [
        ("ten",),
        (ADDRESS, "--at", "noon"),
        (ADDRESS, "--at", "25:00"),
        (ADDRESS, "--at", "2999-01-01"),
    ],
)
def test_what_is_no_address_or_no_time_is_refused(words: tuple[str, ...], capsys: Capture) -> None:
    assert CliCluster().run("whois", *words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
