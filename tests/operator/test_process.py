"""The operator as a process: exit status, liveness probe, watches on a real API server."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openeni_crds.conditions import Type, find
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import decode
from openeni_crds.names import ENIPOOLS, EVENTS, FINALIZER_ENIPOOL, LEASES
from openeni_kube.client import KubeStore, connect
from openeni_kube.store import NotFoundError
from openeni_operator.process.leadership import NAME
from openeni_testing.objects import REPOSITORY, install_crds, remove_objects, unique
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


def environment(**given: str) -> dict[str, str]:
    paths = os.pathsep.join(str(REPOSITORY / p) for p in ("operator", "kube", "crds"))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENENI_", "OS_", "KUBE"))}
    return {**kept, "PYTHONPATH": paths, **given}


def start(log: Path, **given: str) -> "subprocess.Popen[bytes]":
    """Start it with its output in a file: a pipe that nobody reads blocks it after 64 KiB."""
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "openeni_operator"],
            env=environment(**given),
            stdout=out,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"OPENENI_WORKERS": "none"}, "OPENENI_WORKERS must be a number between 1 and 64"),
        ({}, "no Kubernetes API server is configured"),
        ({"KUBECONFIG": "/no/such/file"}, "/no/such/file"),
    ],
)
def test_an_invalid_setting_is_one_line_and_exit_status_2(
    given: dict[str, str], words: str, tmp_path: Path
) -> None:
    process = start(tmp_path / "log", **given)
    assert process.wait(60) == 2
    (line,) = (tmp_path / "log").read_text().strip().splitlines()
    assert words in line


@dataclass
class Running:
    process: "subprocess.Popen[bytes]"
    log: Path
    clouds: Path
    address: str

    def probe(self, path: str) -> tuple[int, str]:
        """Return the status and the text of a probe; 0 while nothing listens."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=10) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()
        except urllib.error.URLError:
            return 0, ""

    def ready(self) -> bool:
        return self.probe("/readyz")[0] == 200

    def wait_until_logged(self, words: str) -> None:
        wait_for(lambda: words in self.log.read_text(), f"{words!r} is logged")


@pytest.fixture
def store(api_server: Path) -> Iterator[KubeStore]:
    found = connect(agent="openeni-tests", kubeconfig=str(api_server))
    install_crds(found)
    yield found
    remove_objects(found)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Return a function that runs the operator with a kubeconfig and more variables."""
    made: list[Running] = []

    def run(kubeconfig: Path, **given: str) -> Running:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        clouds, log = tmp_path / "clouds.yaml", tmp_path / f"log-{len(made)}"
        process = start(
            log,
            KUBECONFIG=str(kubeconfig),
            OPENENI_CLOUDS_FILE=str(clouds),
            OPENENI_PROBE_PORT=str(port),
            OPENENI_RESYNC_SECONDS="5",
            **given,
        )
        made.append(Running(process, log, clouds, f"http://127.0.0.1:{port}"))
        return made[-1]

    yield run
    for running in made:
        running.process.kill()
        running.process.wait(30)


@pytest.fixture
def running(api_server: Path, store: KubeStore, run: Callable[..., Running]) -> Running:
    return run(api_server)


def make_pool(store: KubeStore) -> str:
    name = unique("pool")
    spec: dict[str, Any] = {
        "subnets": [{"name": "pods"}],
        "securityGroups": [],
        "datapath": {"mode": "Veth"},
    }
    store.create(
        ENIPOOLS,
        {
            "apiVersion": ENIPOOLS.api_version,
            "kind": "ENIPool",
            "metadata": {"name": name},
            "spec": spec,
        },
    )
    return name


def pool(store: KubeStore, name: str) -> ENIPool:
    return decode(store.get(ENIPOOLS, name), ENIPool)


def reason(store: KubeStore, name: str) -> str:
    found = find(pool(store, name).status.conditions, Type.CLOUD_REACHABLE)
    return found.reason if found else ""


def events(store: KubeStore, name: str) -> list[str]:
    """Return the reasons of the Events about a pool."""
    found = store.list(EVENTS).items
    return [e["reason"] for e in found if e["regarding"].get("name") == name]


def gone(store: KubeStore, name: str) -> bool:
    try:
        store.get(ENIPOOLS, name)
    except NotFoundError:
        return True
    return False


NOBODY = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
current-context: c
"""


def test_while_the_api_server_is_away_it_lives_is_not_ready_and_ends_on_sigterm(
    run: Callable[..., Running], tmp_path: Path
) -> None:
    (tmp_path / "kubeconfig").write_text(NOBODY)
    running = run(tmp_path / "kubeconfig")
    reason = "the Kubernetes API server cannot be used"
    wait_for(lambda: reason in running.log.read_text(), "the reason is logged")
    assert running.probe("/readyz") == (503, "not started: the log says why\n")
    assert running.probe("/healthz") == (200, "OK\n")
    assert running.probe("/nowhere")[0] == 404
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0


def test_a_probe_port_in_use_is_one_line_and_exit_status_2(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(NOBODY)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = start(
            tmp_path / "log", KUBECONFIG=str(tmp_path / "kubeconfig"), OPENENI_PROBE_PORT=port
        )
        assert process.wait(60) == 2
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert f"cannot listen on 127.0.0.1 port {port}" in line
    assert "OPENENI_PROBE_PORT" in line


@pytest.mark.cluster
def test_a_pool_without_a_cloud_reports_it_and_can_be_deleted(
    running: Running, store: KubeStore
) -> None:
    wait_for(running.ready, "the operator is ready")
    name = make_pool(store)
    wait_for(lambda: reason(store, name) == "CloudNotConfigured", "the missing file is reported")
    assert FINALIZER_ENIPOOL in pool(store, name).metadata.finalizers
    wait_for(lambda: "CloudNotConfigured" in events(store, name), "it is an Event, too")
    running.clouds.write_text(
        "clouds:\n  default:\n    auth:\n      auth_url: http://127.0.0.1:1/v3\n"
        "      username: u\n      password: p\n      project_name: p\n"
        "      user_domain_id: default\n      project_domain_id: default\n"
    )
    wait_for(lambda: reason(store, name) == "CloudUnreachable", "the new file is read")
    store.delete(ENIPOOLS, name)
    wait_for(lambda: gone(store, name), "the finalizer is removed")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
    log = running.log.read_text()
    assert "Traceback" not in log
    assert "password" not in log


@pytest.mark.cluster
def test_an_operator_serves_metrics_of_what_it_knows(
    run: Callable[..., Running], api_server: Path, store: KubeStore
) -> None:
    running = run(api_server, OPENENI_METRICS="true")
    wait_for(running.ready, "the operator is ready")
    name = make_pool(store)
    labels = f'pool="{name}",reason="CloudNotConfigured",status="False",type="CloudReachable"'
    sample = f"openeni_pool_condition{{{labels}}} 1.0"
    wait_for(lambda: sample in running.probe("/metrics")[1].splitlines(), "the pool's metrics")
    lines = running.probe("/metrics")[1].splitlines()
    assert {"openeni_leader 1.0", "openeni_crd_version_skew 0.0"} <= set(lines)
    store.delete(ENIPOOLS, name)
    wait_for(lambda: name not in running.probe("/metrics")[1], "the end of its series")


@pytest.mark.cluster
def test_an_unchanged_status_is_not_written_again(running: Running, store: KubeStore) -> None:
    name = make_pool(store)
    wait_for(lambda: reason(store, name) == "CloudNotConfigured", "the missing file is reported")
    before = pool(store, name).metadata.resource_version
    other = make_pool(store)  # wakes every pool
    wait_for(lambda: reason(store, other) == "CloudNotConfigured", "the other pool is reconciled")
    assert pool(store, name).metadata.resource_version == before
    store.delete(ENIPOOLS, name)
    store.delete(ENIPOOLS, other)
    wait_for(lambda: gone(store, name) and gone(store, other), "the finalizers are removed")


@pytest.mark.cluster
def test_the_watches_resume_after_an_api_server_restart(
    running: Running, store: KubeStore, control_plane: Any
) -> None:
    wait_for(running.ready, "the operator is ready")
    control_plane.stop()
    control_plane.run()
    name = make_pool(store)
    wait_for(lambda: reason(store, name) == "CloudNotConfigured", "the watches have resumed")
    assert running.process.poll() is None
    store.delete(ENIPOOLS, name)
    wait_for(lambda: gone(store, name), "the finalizer is removed")


@pytest.mark.cluster
def test_of_several_operators_one_leads_and_another_takes_over(
    run: Callable[..., Running], store: KubeStore, api_server: Path
) -> None:
    def run_as(pod: str) -> Running:
        return run(api_server, OPENENI_NAMESPACE="default", OPENENI_POD=pod)

    first = run_as("first")
    first.wait_until_logged("operator started")
    second = run_as("second")
    second.wait_until_logged("waiting to lead: first does")
    assert second.ready()
    first.process.send_signal(signal.SIGSTOP)
    second.wait_until_logged("operator started")
    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(60) == 3
    assert "second leads now; this operator exits" in first.log.read_text()

    third = run_as("third")
    third.wait_until_logged("waiting to lead: second does")
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(60) == 0
    third.wait_until_logged("operator started")
    assert store.get(LEASES, NAME, "default")["spec"]["holderIdentity"] == "third"
    store.delete(LEASES, NAME, "default")
