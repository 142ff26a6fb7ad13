"""The command line as a whole: what it says where it cannot find out, and its exit codes."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from openeni_cli.__main__ import main, run
from openeni_cli.failures import MEANINGS
from openeni_crds.meta import Json
from openeni_crds.names import BUNDLE_VERSION, ENIPOOLS, ENIS, Kind
from openeni_kube.command_line import ExitCode
from openeni_kube.store import NotFoundError, StoreError, UnreachableError
from openeni_testing.cli_cluster import CliCluster
from openeni_testing.objects import REPOSITORY

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty home folder, without any other way to an API server."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def kubeconfig(*contexts: str) -> Json:
    """Return a kubeconfig whose contexts lead to closed ports."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": contexts[0],
        "contexts": [{"name": c, "context": {"cluster": c, "user": c}} for c in contexts],
        "clusters": [
            {"name": c, "cluster": {"server": f"http://127.0.0.1:{i + 1}"}}
            for i, c in enumerate(contexts)
        ],
        "users": [{"name": c, "user": {}} for c in contexts],
    }


def said(capsys: Capture) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.usefixtures("nowhere")
def test_without_a_kubeconfig_the_ways_out_are_named(capsys: Capture) -> None:
    assert run(["status"]) == ExitCode.UNAVAILABLE
    line = said(capsys)
    assert line.startswith("openeni: no Kubernetes API server is configured")
    assert "--kubeconfig and --context" in line


def test_the_kubeconfig_in_the_home_folder_is_used_as_kubectl_does(
    nowhere: Path, capsys: Capture
) -> None:
    (nowhere / ".kube").mkdir()
    (nowhere / ".kube/config").write_text(yaml.safe_dump(kubeconfig("one", "two")))
    assert run(["status"]) == ExitCode.UNAVAILABLE
    line = said(capsys)
    assert "cannot list enipools" in line
    assert "port=1)" in line
    assert "can be reached from here" in line
    assert run(["--context", "two", "status"]) == ExitCode.UNAVAILABLE
    assert "port=2)" in said(capsys)


def test_a_context_that_is_not_there_is_named(nowhere: Path, capsys: Capture) -> None:
    file = nowhere / "kubeconfig"
    file.write_text(yaml.safe_dump(kubeconfig("one")))
    assert run(["--kubeconfig", str(file), "--context", "none", "status"]) == 3
    line = said(capsys)
    assert str(file) in line
    assert "none" in line


@pytest.mark.parametrize(
    ("kind", "error", "says"),
    [
        (
            ENIPOOLS,
            NotFoundError(404, "the server could not find the requested resource"),
            "its CRDs are not installed",
        ),
        (
            ENIS,
            StoreError(403, 'enis.openeni.io is forbidden: User "eve" cannot list resource "enis"'),
            "bind your account to a role with this verb",
        ),
        (ENIS, StoreError(401, "Unauthorized"), "log in to the cluster again"),
        (ENIS, UnreachableError(0, "connection refused"), "can be reached from here"),
    ],
)
def test_each_refusal_is_one_line_with_the_way_out(
    cluster: CliCluster, capsys: Capture, kind: Kind, error: StoreError, says: str
) -> None:
    cluster.store.refused[kind] = error
    assert cluster.run("status") == ExitCode.UNAVAILABLE
    line = said(capsys)
    assert line.startswith(f"openeni: cannot list {kind.plural}: {error.message}; ")
    assert says in line


@pytest.mark.parametrize(
    "words",
    [
        ["sttaus"],
        ["status", "-o", "xml"],
        ["trace", "pods"],
        ["trace"],
        ["plan", "--nodes", "many"],
    ],
)
def test_a_wrong_command_line_has_its_own_exit_code(words: list[str], capsys: Capture) -> None:
    assert CliCluster().run(*words) == ExitCode.USAGE
    assert said(capsys).startswith("openeni: ")


def test_an_interruption_has_its_own_exit_code(
    cluster: CliCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster.store, "list", interrupted)
    assert cluster.run("status") == ExitCode.INTERRUPTED


def test_the_version_is_the_releases(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"openeni {BUNDLE_VERSION}\n"


def test_without_a_command_there_is_help(capsys: Capture) -> None:
    run([])
    text = capsys.readouterr().out
    for name in ("status", "trace", "whois", "plan", "support-bundle", "drain-node"):
        assert f"  {name} " in text


def test_it_is_a_plugin_of_kubectl_too(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    scripts = entry_points(group="console_scripts")
    found = {s.name for s in scripts if s.value == "openeni_cli.__main__:main"}
    assert found == {"openeni", "kubectl-openeni"}
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-openeni", "sttaus"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == ExitCode.USAGE
    assert said(capsys).startswith("kubectl openeni: ")


def test_every_exit_code_is_documented() -> None:
    page = (REPOSITORY / "docs/cli.md").read_text()
    assert set(MEANINGS) == set(ExitCode)
    for code, meaning in MEANINGS.items():
        assert f"| {int(code)} | {meaning} |" in page


@pytest.mark.slow
def test_it_starts_without_the_clients_of_operator_and_agent() -> None:
    """Only what its own extra installs is on an administrator's machine."""
    script = (
        "import sys\n"
        "for name in ('kopf', 'openstack', 'keystoneauth1', 'pyroute2', 'jeepney',\n"
        "             'prometheus_client', 'cryptography'):\n"
        "    sys.modules[name] = None\n"
        "from openeni_cli.__main__ import run\n"
        "sys.exit(run(['--version']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert ended.returncode == 0
