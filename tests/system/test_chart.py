"""The chart's pods have no more rights than they need: in the kernel and at the API server."""

from pathlib import Path

import pytest
import yaml

from openeni_crds.names import MANAGER_AGENT, NODES
from openeni_kube.client import connect
from openeni_kube.store import Store, StoreError
from openeni_lab.product.chart import NAMESPACE
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import AGENT, OPERATOR
from openeni_nodeagent.__main__ import CAPABILITIES
from openeni_testing.lab import installed_lab as lab

pytestmark = [pytest.mark.lab, pytest.mark.root]


def status_of(installed: InstalledLab, component: str, node: str = "") -> dict[str, str]:
    """Return the kernel's status of a component's process."""
    found = lab.container(installed, component, node)
    pid = lab.kernel_pid(installed, found)
    text = installed.nodes[found.node].check(["cat", f"/proc/{pid}/status"])
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_the_operator_runs_without_any_privilege(installed: InstalledLab) -> None:
    status = status_of(installed, OPERATOR)
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65532"}
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")  # 2: a filter


def test_the_agents_run_with_three_capabilities(installed: InstalledLab) -> None:
    for component, node in lab.COMPONENTS:
        if component == AGENT:
            status = status_of(installed, component, node)
            for name in ("CapEff", "CapPrm", "CapBnd"):
                assert int(status[name], 16) == sum(1 << bit for bit in CAPABILITIES.values())
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_no_container_can_write_to_its_root(installed: InstalledLab) -> None:
    write = ["python", "-c", "open('/written', 'w')"]
    for component, node in lab.COMPONENTS:
        pod = lab.container(installed, component, node).pod
        said = installed.reach.in_pod(pod, write, NAMESPACE)
        assert "Read-only file system" in said, component


@pytest.fixture
def agent(installed: InstalledLab, tmp_path: Path) -> Store:
    """Return a client with exactly the rights of n1's agent."""
    node = installed.api.request("GET", "/api/v1/nodes/n1") | {"kind": "Node"}
    token = installed.api.token(NAMESPACE, "openeni-agent", node)
    config = yaml.safe_load(installed.lab.layout.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return connect(agent=MANAGER_AGENT, kubeconfig=str(path))


def test_the_labs_agents_are_held_to_their_own_node(agent: Store) -> None:
    """Show that the policies are in force; tests/chart has every attack."""
    label = "/metadata/labels/datapath.openeni.io~1veth"
    change = [{"op": "add", "path": label, "value": "true"}]
    agent.patch(NODES, "n1", operations=change)
    with pytest.raises(StoreError, match="an agent labels its own Node only, which is n1"):
        agent.patch(NODES, "n2", operations=change)
