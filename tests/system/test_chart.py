"""The chart on a real API server: its workloads are what runs, with no more rights than needed."""

import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODIPS, Kind
from openeni_kube.client import connect
from openeni_kube.store import Store, StoreError
from openeni_lab.kubernetes.api import APPLY
from openeni_lab.product import workloads
from openeni_lab.product.chart import CHART, NAMESPACE
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.reach import is_ready
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

Json = dict[str, Any]


def _rendered(installed: InstalledLab) -> list[Json]:
    """Return helm's output, parsed by the test itself."""
    command = [str(installed.installation.helm), "template", "openeni", str(CHART)]
    command += ["--namespace", NAMESPACE]
    text = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    return [d for d in yaml.safe_load_all(text) if d]


def test_helm_finds_nothing_to_complain_of(installed: InstalledLab) -> None:
    command = [str(installed.installation.helm), "lint", "--strict", str(CHART)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet"])
def test_the_api_server_accepts_the_charts_workloads_and_every_field_of_them(
    installed: InstalledLab, kind: str
) -> None:
    """Ask the server as `kubectl apply --server-side --dry-run=server --validate=strict` does."""
    (workload,) = (d for d in _rendered(installed) if d["kind"] == kind)
    asked = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "openeni-tests"}
    path = f"{installed.api.path_of(workload)}?{urlencode(asked)}"
    answer = installed.api.request("PATCH", path, workload, APPLY)
    assert answer["metadata"]["uid"]  # it was taken as an object, defaults and all


@pytest.mark.parametrize(
    ("component", "node", "kind"),
    [("operator", "n1", "Deployment"), ("agent", "n1", "DaemonSet"), ("agent", "n2", "DaemonSet")],
)
def test_the_lab_runs_the_charts_command_arguments_and_environment(
    installed: InstalledLab, component: str, node: str, kind: str
) -> None:
    (workload,) = (d for d in _rendered(installed) if d["kind"] == kind)
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    machine = lab.machine_of(installed, component, node)
    pid = machine.list()[component].pid
    words = machine.check(["cat", f"/proc/{pid}/cmdline"]).rstrip("\0").split("\0")
    assert words == [*container["command"], *container["args"]]
    environment = dict(
        entry.split("=", 1)
        for entry in machine.check(["cat", f"/proc/{pid}/environ"]).split("\0")
        if "=" in entry
    )
    for entry in container["env"]:
        expected = entry.get("value", node)
        assert environment[entry["name"]] == expected, entry["name"]


@pytest.fixture
def pooled(installed: InstalledLab, shared: set[str]) -> dict[str, Json]:
    """Create a pool with an ENI on each node; return the ENIs by node."""
    shared.add("rights")
    installed.api.apply([workloads.pool("rights", addresses=2)])

    def enis() -> dict[str, Json]:
        found = {e["spec"]["nodeName"]: e for e in lab.enis_of(installed, "rights")}
        assert found.keys() == installed.installation.nodes.keys()
        assert all(is_ready(eni) for eni in found.values())
        return found

    return wait_for(enis, "an ENI on each node", lab.PATIENCE)


@pytest.fixture
def agent(installed: InstalledLab, tmp_path: Path) -> Store:
    """Return a client with exactly the rights of n1's agent."""
    node = installed.api.request("GET", "/api/v1/nodes/n1") | {"kind": "Node"}
    token = installed.api.token(NAMESPACE, "openeni-agent", node)
    config = yaml.safe_load(installed.lab.layout.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return connect(agent="openeni-tests", kubeconfig=str(path))


def _put(path: str, value: object) -> list[Json]:
    return [{"op": "add", "path": path, "value": value}]


def test_an_agent_writes_its_part_of_its_own_enis_only(
    agent: Store, pooled: dict[str, Json]
) -> None:
    mine, other = pooled["n1"]["metadata"]["name"], pooled["n2"]["metadata"]["name"]
    count = _put("/status/node/cooling", 0)
    agent.patch(ENIS, mine, operations=count, subresource="status")
    with pytest.raises(StoreError, match="objects of its own node only, which is n1"):
        agent.patch(ENIS, other, operations=count, subresource="status")
    for stolen in (_put("/status/port/revision", 999), _put("/status/state", "Mine")):
        with pytest.raises(StoreError, match=r"status\.node, GuestPrepared and LinkReady only"):
            agent.patch(ENIS, mine, operations=stolen, subresource="status")


def test_an_agent_says_of_its_own_node_what_its_kernel_can_do_and_nothing_else(
    agent: Store,
) -> None:
    veth = _put("/metadata/labels/datapath.openeni.io~1veth", "true")
    agent.patch(NODES, "n1", operations=veth)
    with pytest.raises(StoreError, match="labels its own node only, which is n1"):
        agent.patch(NODES, "n2", operations=veth)
    for more in (_put("/metadata/labels/zone", "mine"), _put("/spec/unschedulable", value=True)):
        with pytest.raises(StoreError, match=r"labels datapath\.openeni\.io/ only"):
            agent.patch(NODES, "n1", operations=more)


def test_an_agent_records_grants_of_its_own_node_only(
    installed: InstalledLab, agent: Store, pooled: dict[str, Json]
) -> None:
    body = {
        "apiVersion": "openeni.io/v1alpha1",
        "kind": "PodIP",
        "metadata": {"name": "none", "namespace": "default"},
        "spec": {
            "podUID": "0",
            "nodeName": "n2",
            "containerID": "0",
            "eniName": pooled["n2"]["metadata"]["name"],
            "poolName": "rights",
            "address": "10.98.0.9",
            "datapathMode": "Veth",
        },
    }
    with pytest.raises(StoreError, match="objects of its own node only, which is n1"):
        agent.create(PODIPS, body)
    assert installed.api.get("/apis/openeni.io/v1alpha1/namespaces/default/podips/none") is None


def test_an_agent_may_neither_delete_an_eni_nor_change_a_pool(
    agent: Store, pooled: dict[str, Json]
) -> None:
    for refused in (
        lambda: agent.delete(ENIS, pooled["n1"]["metadata"]["name"]),
        lambda: agent.patch(
            ENIS, pooled["n1"]["metadata"]["name"], operations=_put("/spec/retiring", [])
        ),
        lambda: agent.delete(ENIPOOLS, "rights"),
        lambda: agent.patch(ENIPOOLS, "rights", operations=_put("/spec/coolDown", "60s")),
        lambda: agent.get(Kind("", "v1", "secrets", "Secret", namespaced=True), "x", NAMESPACE),
    ):
        with pytest.raises(StoreError, match="forbidden"):
            refused()
