"""`openeni support-bundle`: what is needed to help, and no secret."""

import json
import tarfile
from pathlib import Path
from typing import Final

import pytest

from openeni_cli.bundle.redact import REMOVED, redact, redact_text
from openeni_crds.meta import Json
from openeni_crds.names import EVENTS, NODES, PODS, Kind
from openeni_kube.store import StoreError
from openeni_testing.cli_cluster import HOME, CliCluster, condition

Capture = pytest.CaptureFixture[str]
SECRETS: Final = Kind("", "v1", "secrets", "Secret", namespaced=True)
KEY: Final = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq\nplanted-key\n"
    "-----END RSA PRIVATE KEY-----"
)
PLANTED: Final = {
    "password": "password=planted-1",
    "quoted": '"application_credential_secret": "planted 2 with blanks"',
    "yaml": "    password: planted-3",
    "single": "'admin_token': 'planted-4'",
    "bearer": "Authorization: Bearer planted-5.abc",
    "basic": "authorization: basic cGxhbnRlZC02OnBsYW50ZWQ=",
    "fernet": "X-Auth-Token gAAAAABplanted7plantedplantedplanted",
    "jwt": "token eyJhbGciOiJSUzI1NiJ9.cGxhbnRlZC04.c2lnbmF0dXJl",
    "url": "https://openeni:planted-9@keystone.example:5000/v3",
    "key": KEY,
    "escaped": '{\\"os_password\\": \\"planted-10\\"}',
    "api-key": "api-key=planted-11;x",
    "cut": "-----BEGIN PRIVATE KEY-----\nplanted-12 the log was cut off here",
}
LEAKS: Final = ("planted", "cGxhbnRlZC02", "cGxhbnRlZC04", "MIIEpAIBAAKCAQEA7bq")


def leaks(text: str) -> list[str]:
    return [leak for leak in LEAKS if leak in text]


@pytest.mark.parametrize("name", PLANTED)
def test_a_secret_in_a_text_is_removed(name: str) -> None:
    text = f"2026-11-24 WARNING cloud call failed {PLANTED[name]}"
    assert leaks(text)
    assert leaks(redact_text(text)) == []
    assert REMOVED in redact_text(text)
    assert redact_text(text).startswith("2026-11-24 WARNING cloud call failed")


@pytest.mark.parametrize(
    "text",
    [
        "secretName: openeni-clouds",
        'secretRef: "clouds"',
        "https://keystone.example:5000/v3 does not answer",
        "cloud call operation='create port' key=port/openeni-1c0ffee1-6a2c",
        "automountServiceAccountToken: false",
        "CredentialsInvalid: Keystone rejects the credentials",
        "the token expired",
        "a basic setup is enough",
    ],
)
def test_what_helps_stays(text: str) -> None:
    assert redact_text(text) == text


def described() -> Json:
    """Return an object with secrets in it, and with what only looks like some."""
    return {
        "metadata": {
            "name": "openeni-operator-x",
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "{planted}",
                "vault/token": "planted",
                "note": PLANTED["url"],
            },
            "managedFields": [{"manager": "planted"}],
        },
        "spec": {
            "env": [
                {"name": "OS_PASSWORD", "value": "planted"},
                {"name": "OPENENI_WORKERS", "value": "16"},
                {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": "k", "key": "x"}}},
            ],
            "volumes": [{"secret": {"secretName": "openeni-clouds", "defaultMode": 256}}],
            "replicas": 2,
            "items": [],
            "nothing": None,
        },
    }


def test_secrets_in_an_object_are_removed_by_the_names_of_fields_and_variables() -> None:
    body = described()
    found = redact(body)
    assert leaks(json.dumps(found)) == []
    assert found["spec"]["env"][1:] == body["spec"]["env"][1:]
    assert found["spec"]["volumes"] == body["spec"]["volumes"]
    assert (found["spec"]["replicas"], found["spec"]["items"]) == (2, [])
    assert found["spec"]["nothing"] is None
    assert found["metadata"]["name"] == "openeni-operator-x"


def read(path: Path) -> dict[str, str]:
    """Return the files of an archive, without their common folder."""
    with tarfile.open(path) as archive:
        found: dict[str, str] = {}
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            assert member.mode == 0o600
            folder, _, name = member.name.partition("/")
            assert folder == path.name.removesuffix(".tar.gz")
            found[name] = file.read().decode()
        return found


def bundle(cluster: CliCluster, folder: Path, *words: str) -> dict[str, str]:
    path = folder / "bundle.tar.gz"
    cluster.run("support-bundle", "--file", str(path), *words)
    return read(path)


@pytest.fixture
def planted(cluster: CliCluster) -> CliCluster:
    """Return a cluster with secrets wherever somebody may have put one."""
    every = " ".join(text for name, text in PLANTED.items() if name != "cut")
    cluster.eni("pods-0", condition("PortReady", "Denied", message=every))
    cluster.podip("web-0")
    cluster.put(SECRETS, {"metadata": {"name": "openeni-clouds", "namespace": HOME}, "data": {}})
    event: Json = {
        "metadata": {"name": "e", "namespace": "default"},
        "regarding": {"kind": "ENI", "name": "pods-0"},
        "note": every,
    }
    cluster.put(EVENTS, event)
    noted: Json = {"note": every, "token": "planted"}
    annotate: Json = {"op": "add", "path": "/metadata/annotations", "value": noted}
    cluster.store.patch(NODES, "n1", operations=[annotate])
    variables = [{"name": "OS_PASSWORD", "value": "planted"}]
    set_env: Json = {"op": "add", "path": "/spec/containers/0/env", "value": variables}
    cluster.store.patch(PODS, "openeni-operator-x", HOME, operations=[set_env])
    cluster.logs.texts = {
        ("openeni-operator-x", False): [*every.splitlines(), "a line that helps"],
        ("openeni-agent-n1", False): [*KEY.splitlines(), "another one"],
    }
    return cluster


def test_no_planted_secret_is_in_a_bundle_and_none_was_read(
    planted: CliCluster, tmp_path: Path
) -> None:
    files = bundle(planted, tmp_path)
    assert {name: leaks(text) for name, text in files.items() if leaks(text)} == {}
    assert SECRETS not in planted.store.asked
    assert "a line that helps" in files["logs/openeni-operator-x.operator.log"]
    assert "another one" in files["logs/openeni-agent-n1.agent.log"]


def test_a_bundle_has_objects_events_logs_and_what_status_says(
    planted: CliCluster, tmp_path: Path
) -> None:
    files = bundle(planted, tmp_path)
    kinds = ("enipools", "enis", "podips", "nodes", "pods", "deployments", "daemonsets", "leases")
    for kind in kinds:
        (body,) = (json.loads(line) for line in files[f"objects/{kind}.jsonl"].splitlines()[:1])
        assert body["metadata"]["name"]
    assert json.loads(files["objects/events.jsonl"])["regarding"]["name"] == "pods-0"
    assert json.loads(files["status.json"])["problems"][0]["reason"] == "Denied"
    manifest = json.loads(files["manifest.json"])
    assert manifest["failures"] == []
    assert sorted(manifest["files"]) == sorted(set(files) - {"manifest.json"})


def test_what_may_not_be_read_is_listed_and_the_rest_is_there(
    planted: CliCluster, tmp_path: Path, capsys: Capture
) -> None:
    planted.store.refused[NODES] = StoreError(403, 'nodes is forbidden: User "eve" cannot list')
    planted.logs.refused["openeni-agent-n1"] = StoreError(403, "pods/log is forbidden")
    path = tmp_path / "bundle.tar.gz"
    assert planted.run("support-bundle", "--file", str(path)) == 1
    said = capsys.readouterr().out
    assert "not read: cannot list nodes: nodes is forbidden" in said
    assert "not read: logs/openeni-agent-n1.agent.log: pods/log is forbidden" in said
    files = read(path)
    assert "objects/enis.jsonl" in files
    assert "objects/nodes.jsonl" not in files
    assert len(json.loads(files["manifest.json"])["failures"]) == 3  # nodes are in the status, too


def test_agents_of_nodes_with_problems_come_first(cluster: CliCluster, tmp_path: Path) -> None:
    for name in ("n2", "n3"):
        cluster.node(name)
    cluster.workload_pod("openeni-agent-n2", "agent", "n2")
    unready = condition("Ready", "ContainersNotReady")
    cluster.workload_pod("openeni-agent-n3", "agent", "n3", conditions=[unready])
    for name in ("operator-x", "agent-n1", "agent-n2", "agent-n3"):
        cluster.logs.texts[f"openeni-{name}", False] = [f"line {i}" for i in range(9)]
    files = bundle(cluster, tmp_path, "--agents", "1", "--tail", "2")
    logs = sorted(name for name in files if name.startswith("logs/"))
    assert logs == ["logs/openeni-agent-n3.agent.log", "logs/openeni-operator-x.operator.log"]
    assert files[logs[0]] == "line 7\nline 8"


def test_a_log_before_a_restart_is_taken_too(cluster: CliCluster, tmp_path: Path) -> None:
    restarted: list[Json] = [{"name": "agent", "restartCount": 2, "state": {"running": {}}}]
    cluster.workload_pod("openeni-agent-n2", "agent", "n2", containerStatuses=restarted)
    cluster.logs.texts["openeni-agent-n2", True] = ["why it ended"]
    files = bundle(cluster, tmp_path)
    assert files["logs/openeni-agent-n2.agent.previous.log"] == "why it ended"


def test_a_file_that_is_there_is_not_replaced(
    cluster: CliCluster, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "bundle.tar.gz"
    path.write_text("mine")
    assert cluster.run("support-bundle", "--file", str(path)) == 3
    assert "--file names another" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_bundle_is_its_owners_alone(cluster: CliCluster, tmp_path: Path) -> None:
    bundle(cluster, tmp_path)
    assert (tmp_path / "bundle.tar.gz").stat().st_mode & 0o777 == 0o600
