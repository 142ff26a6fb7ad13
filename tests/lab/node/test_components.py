"""A real node of either kind: kubelet, containerd, kube-proxy, and no trace on the machine."""

import json
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openeni_lab.kubernetes.control_plane import ControlPlane
from openeni_lab.kubernetes.images import make_images
from openeni_lab.lab import NodeKind
from openeni_lab.machine import steps
from openeni_lab.machine.isolation import KUBELET_SYSCTLS
from openeni_lab.node.components import Node
from openeni_lab.node.machines import PERSISTENT, NamespaceMachine, NodeHost, VMMachine
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import Built
from openeni_lab.progress import LogProgress
from openeni_testing.lab.fake_node import HypervisorCommand
from openeni_testing.lab.small_lab import SmallLab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.cluster]

SERVER = {"id": "11111111-2222-4333-8444-555555555555", "mac": "fa:16:3e:00:00:01"}
PORT = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
PODS = "/api/v1/namespaces/default/pods"
SETS = ("kubernetes", "node", "kubectl", "busybox", "cni-plugins", "kernel")
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web"},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {"name": "web", "image": "openeni.lab/web:1", "imagePullPolicy": "Never"},
        ],
    },
}


MORE_FOLDERS = ("/etc/cni/net.d", "/opt/cni/bin", "/run/containerd")


@dataclass(frozen=True)
class NodeWorld:
    """One node whose CNI is a reference plugin."""

    node: Node
    built: Built
    before: object  # `machine_facts` before the node was made

    @property
    def plane(self) -> ControlPlane:
        return self.node.control_plane

    def kubectl(self, *words: str) -> str:
        done = subprocess.run(
            [self.built.bin("kubectl"), f"--kubeconfig={self.plane.lab.kubeconfig}", *words],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not done.returncode, done.stderr
        return done.stdout

    def pod(self) -> dict[str, Any] | None:
        return self.plane.api().get(f"{PODS}/web")

    def install_plugins(self) -> None:
        machine = self.node.machine
        ipam = {"type": "host-local", "dataDir": "/run/ipam", "subnet": "10.98.2.0/24"}
        network = {
            "cniVersion": "1.0.0",
            "name": "reference",
            "plugins": [{"type": "ptp", "ipam": ipam}],
        }
        binaries = self.built.bin("ptp").parent
        script = f"mkdir -p /opt/cni/bin /etc/cni/net.d; cp {binaries}/* /opt/cni/bin/"
        machine.check(["sh", "-ec", f"{script}; cat > /etc/cni/net.d/10-reference.conflist"],
                      stdin=json.dumps(network).encode())  # fmt: skip

    def ready(self) -> bool:
        node = self.plane.api().get("/api/v1/nodes/n1")
        conditions: list[dict[str, str]] = node["status"]["conditions"] if node else []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def machine_facts() -> object:
    """Return the machine's sysctls, and what is in the folders that a node has as its own.

    A used machine may have some of them: another CNI plugin, a container runtime.
    """
    sysctls = {name: (Path("/proc/sys") / name).read_text() for name in KUBELET_SYSCTLS}
    folders = (Path(name) for name in (*PERSISTENT, *MORE_FOLDERS))
    return sysctls, {path: sorted(path.iterdir()) for path in folders if path.is_dir()}


@pytest.fixture(scope="module", params=[NodeKind.NAMESPACE, NodeKind.VM])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[NodeWorld]:
    built = prepared.read(SETS).built
    before = machine_facts()
    lab = SmallLab.start(tmp_path_factory.mktemp("lab"), "node")
    try:
        server = {"n1": {**SERVER, "address": lab.layout.nodes[0].address}}
        (lab.layout.state / "servers.json").write_text(json.dumps(server))
        hypervisor = HypervisorCommand(lab.layout, lab.machine)
        hypervisor("plug", SERVER["id"], PORT, SERVER["mac"], "nodes")
        hypervisor("allow", PORT, SERVER["mac"], "nodes", lab.layout.nodes[0].address)
        plane = ControlPlane(lab.layout, lab.machine, built.bin)
        host = NodeHost(lab.layout, lab.machine, lab.layout.nodes[0])
        kind = (
            NamespaceMachine(host)
            if request.param is NodeKind.NAMESPACE
            else VMMachine(host, built.kernel, built.kernel_preload)
        )
        images = make_images(built.bin)
        node = Node(host, kind, plane, lambda: images)
        steps.run([*plane.steps(), *node.steps()], LogProgress())
        made = NodeWorld(node, built, before)
        made.install_plugins()
        wait_for(made.ready, "the node", 300)
        yield made
    finally:
        lab.remove()


@pytest.fixture
def pod(world: NodeWorld) -> Generator[dict[str, Any]]:
    """Create a pod with an address, and remove it afterwards."""
    world.plane.api().request("POST", PODS, POD)

    def running() -> dict[str, Any] | None:
        found = world.pod()
        return found if found and found["status"].get("podIP") else None

    yield wait_for(running, "an address", 120)
    world.plane.api().delete(f"{PODS}/web")
    wait_for(lambda: world.pod() is None, "the pod's end", 120)


def test_the_node_is_its_server(world: NodeWorld) -> None:
    node = world.plane.api().get("/api/v1/nodes/n1")
    assert node
    assert node["spec"]["providerID"] == f"openstack:///{SERVER['id']}"
    assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "az1"
    addresses = {a["type"]: a["address"] for a in node["status"]["addresses"]}
    assert addresses["InternalIP"] == "10.99.0.11"
    links = json.loads(world.node.machine.check(["ip", "-json", "address"]))
    nic = next(link for link in links if link["address"] == SERVER["mac"])
    assert [a["local"] for a in nic["addr_info"]] == ["10.99.0.11"]
    assert world.node.machine.check(["ip", "route", "get", "8.8.8.8"]).startswith(
        f"8.8.8.8 via 10.99.0.1 dev {nic['ifname']}"
    )


def test_a_pod_runs_and_can_be_looked_into(world: NodeWorld, pod: dict[str, Any]) -> None:
    """The API server reaches the kubelet's port for logs and exec, with certificates."""
    answer = world.node.machine.check(["curl", "-s", f"http://{pod['status']['podIP']}/"])
    assert answer == "web"
    assert world.kubectl("exec", "web", "--", "hostname") == "web\n"
    assert world.kubectl("logs", "web") == ""


def test_a_stranger_may_not_ask_the_kubelet(world: NodeWorld) -> None:
    machine = world.plane.machine
    asked = [
        "curl",
        "-sk",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "https://10.99.0.11:10250/pods",
    ]
    assert machine.check(asked) == "401"


def test_the_kube_proxy_serves_cluster_addresses(world: NodeWorld) -> None:
    asked = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://10.96.0.1/version"]
    wait_for(lambda: world.node.machine.run(asked).text == "200", "the API's ClusterIP")


def test_the_machine_is_as_it_was(world: NodeWorld, pod: dict[str, Any]) -> None:
    """While the node and a pod run, no sysctl and no file of a node's folders has changed."""
    assert pod
    assert machine_facts() == world.before


def test_what_the_node_writes_elsewhere_is_not_on_the_machine(world: NodeWorld) -> None:
    world.node.machine.check(["sh", "-c", "echo x > /usr/written-by-a-node"])
    assert not Path("/usr/written-by-a-node").exists()


def test_after_a_restart_the_nic_is_back_and_the_pod_too(
    world: NodeWorld, pod: dict[str, Any]
) -> None:
    machine = world.node.machine
    machine.check(["touch", "/run/gone-with-a-reboot", "/etc/cni/kept"])
    steps.run(world.node.restart(), LogProgress())
    assert machine.run(["test", "-e", "/run/gone-with-a-reboot"]).code == 1
    if isinstance(world.node.kind, NamespaceMachine):
        assert not machine.run(["test", "-e", "/etc/cni/kept"]).code
    else:
        world.install_plugins()  # a guest's files end with it

    def restarted() -> bool:
        found = world.pod()
        status: dict[str, Any] = found["status"] if found else {}
        containers: list[dict[str, Any]] = status.get("containerStatuses", [])
        return any(c["restartCount"] and c["ready"] for c in containers)

    wait_for(restarted, "the pod's second life", 180)
    assert pod["metadata"]["name"] == "web"
