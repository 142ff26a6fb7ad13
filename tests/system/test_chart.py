"""The chart on a real API server: its workloads are what runs, with no more rights than needed."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from openeni_crds.names import NODES
from openeni_kube.client import connect
from openeni_kube.store import Store, StoreError
from openeni_lab.product.chart import CHART, NAMESPACE, REGISTRY
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab import installed_lab as lab

pytestmark = [pytest.mark.lab, pytest.mark.root]

Json = dict[str, Any]


def _rendered(installed: InstalledLab) -> list[Json]:
    """Return helm's output, parsed by the test itself."""
    command = [str(installed.helm), "template", "openeni", str(CHART)]
    command += ["--namespace", NAMESPACE, "--set", f"image.registry={REGISTRY}"]
    text = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    return [d for d in yaml.safe_load_all(text) if d]


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
    fields = {"spec.nodeName": node, "status.podIP": "127.0.0.1", "metadata.namespace": NAMESPACE}
    for entry in container["env"]:
        path = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        expected = fields[path] if path else entry["value"]
        assert environment[entry["name"]] == expected, entry["name"]


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


def test_the_labs_agents_are_held_to_their_own_node(agent: Store) -> None:
    """Show that the policies are in force; tests/chart has every attack."""
    label = "/metadata/labels/datapath.openeni.io~1veth"
    change = [{"op": "add", "path": label, "value": "true"}]
    agent.patch(NODES, "n1", operations=change)
    with pytest.raises(StoreError, match="an agent labels its own Node only, which is n1"):
        agent.patch(NODES, "n2", operations=change)
