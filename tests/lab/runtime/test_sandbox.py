"""Sandboxes with the reference plugins and with a plugin that records, and a hollow node."""

import json
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from openeni_lab.kubernetes.api import Api
from openeni_lab.kubernetes.control_plane import ControlPlane
from openeni_lab.machine import enclosure, steps
from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.programs import prepared
from openeni_lab.progress import LogProgress
from openeni_lab.runtime import sandbox
from openeni_lab.runtime.cni import NetworkConfigList, PluginError
from openeni_lab.runtime.sandbox import SandboxPod, SandboxRuntime
from openeni_testing.lab.bare_lab import bare_lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.cluster]

PODS = "/api/v1/namespaces/default/pods"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/fast"
RECORDER = """#!/bin/sh
{ env | grep ^CNI_ | sort; cat; echo; } >> "$(dirname "$0")/record"
case $CNI_COMMAND in
ADD) echo '{"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.7/24"}]}' ;;
STATUS) echo '{"cniVersion": "1.1.0", "code": 50, "msg": "not now", "details": "later"}'; exit 1 ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create a list of two plugins, the second with a capability of containerd's."""
    for name in ("one", "two"):
        plugin = tmp_path / name
        plugin.write_text(RECORDER)
        plugin.chmod(0o755)
    capability = {"io.kubernetes.cri.pod-annotations": True, "bandwidth": True}
    plugins = [{"type": "one", "mtu": 1450}, {"type": "two", "capabilities": capability}]
    network = {"cniVersion": "1.1.0", "name": "net", "plugins": plugins}
    (tmp_path / "20-second.conflist").write_text("not this one")
    (tmp_path / "10-first.conflist").write_text(json.dumps(network))
    return tmp_path


@pytest.fixture
def network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> NetworkConfigList:
    monkeypatch.setattr(sandbox, "NETNS_FOLDER", folder / "netns")
    return NetworkConfigList.load(folder, [folder])


def recorded(folder: Path) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Return environment and input of each execution since the last call."""
    found: list[tuple[dict[str, str], dict[str, Any]]] = []
    environment: dict[str, str] = {}
    for line in (folder / "record").read_text().splitlines():
        if line.startswith("{"):
            found.append((environment, json.loads(line)))
            environment = {}
        elif line:
            key, _, value = line.partition("=")
            environment[key] = value
    (folder / "record").unlink()
    return found


def test_plugins_get_what_containerd_gives_them(folder: Path, network: NetworkConfigList) -> None:
    made = SandboxRuntime(network)
    pod = SandboxPod("web-0", "shop", "uid-1", {"a": "b"})
    sandbox = made.start(pod)
    try:
        (environment, one), (_, two) = recorded(folder)
        assert sandbox.addresses == ["10.0.0.7"]
        assert environment["CNI_COMMAND"] == "ADD"
        assert environment["CNI_IFNAME"] == "eth0"
        assert environment["CNI_PATH"] == str(folder)
        assert environment["CNI_NETNS"].startswith(f"{folder}/netns/cni-")
        container = environment["CNI_CONTAINERID"]
        assert len(container) == 64
        assert environment["CNI_ARGS"] == (
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;"
            f"K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID=uid-1"
        )
        assert one == {"type": "one", "mtu": 1450, "name": "net", "cniVersion": "1.1.0"}
        assert two["prevResult"]["ips"] == [{"address": "10.0.0.7/24"}]
        assert two["runtimeConfig"] == {"io.kubernetes.cri.pod-annotations": {"a": "b"}}
        assert "capabilities" not in two
        made.check(sandbox)
        assert [given["type"] for _, given in recorded(folder)] == ["one", "two"]
    finally:
        made.stop(sandbox)
    deletions = recorded(folder)
    assert [given["type"] for _, given in deletions] == ["two", "one"]
    assert all("prevResult" in given for _, given in deletions)
    assert not Path(environment["CNI_NETNS"]).exists()


def test_gc_names_the_sandboxes_that_there_are(folder: Path, network: NetworkConfigList) -> None:
    made = SandboxRuntime(network)
    sandbox = made.start(SandboxPod("p"))
    recorded(folder)
    made.collect()
    made.stop(sandbox)
    environment, given = recorded(folder)[0]
    assert environment["CNI_COMMAND"] == "GC"
    assert "CNI_NETNS" not in environment
    valid = [{"containerID": sandbox.attachment.container_id, "ifname": "eth0"}]
    assert given["cni.dev/valid-attachments"] == valid


def test_a_refusal_is_told_with_its_code(network: NetworkConfigList) -> None:
    with pytest.raises(PluginError, match=r"^one STATUS: not now: later \(50\)$") as refused:
        network.status()
    assert refused.value.code == 50
    assert [(call.command, call.failed) for call in network.calls] == [("STATUS", True)]


def test_a_failed_start_is_undone(folder: Path, network: NetworkConfigList) -> None:
    (folder / "two").write_text("#!/bin/sh\n[ $CNI_COMMAND = DEL ] || exit 1\n")
    made = SandboxRuntime(network)
    with pytest.raises(PluginError, match=r"^two ADD"):
        made.start(SandboxPod("p"))
    assert [call.command for call in made.calls] == ["ADD", "ADD", "DEL", "DEL"]
    assert not list((folder / "netns").iterdir())
    assert made.sandboxes == {}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Generator[ControlPlane]:
    built = prepared.read(["kubernetes", "cni-plugins"]).built
    with bare_lab(tmp_path_factory.mktemp("lab"), "fast") as (lab, machine):
        made = ControlPlane(lab, machine, built.bin)
        steps.run(made.steps(), LogProgress())
        yield made


@pytest.fixture(scope="module")
def reference(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the options for the reference plugins and their configuration."""
    conf = tmp_path_factory.mktemp("net.d")
    ipam = {"type": "host-local", "dataDir": "/run/ipam", "subnet": "10.98.2.0/24"}
    network = {"cniVersion": "1.0.0", "name": "r", "plugins": [{"type": "ptp", "ipam": ipam}]}
    (conf / "r.conflist").write_text(json.dumps(network))
    return [f"--conf={conf}", f"--bin={plane.program('ptp').parent}"]


def run(machine: Machine, *words: str) -> str:
    command = [sys.executable, "-S", "-m", "openeni_lab.runtime.sandbox", *words]
    return machine.check(command, env=enclosure.init_environment(), timeout=120)


def test_churn_leaves_nothing_and_says_what_each_call_took(
    plane: ControlPlane, reference: list[str]
) -> None:
    told = json.loads(run(plane.machine, "churn", "--pods=20", "--parallel=10", *reference))
    for command in ("ADD", "DEL"):
        assert told[command]["count"] == 20
        assert not told[command]["failed"]
        assert 0 < told[command]["median"] <= told[command]["p90"] <= told[command]["max"]
    assert not plane.machine.check(["ls", "/run/netns"])
    assert "veth" not in plane.machine.check(["ip", "link"])


def test_a_missing_plugin_is_one_line(plane: ControlPlane, reference: list[str]) -> None:
    with pytest.raises(MachineError, match=r"openeni-lab runtime: no CNI plugin 'ptp' in /nowhere"):
        run(plane.machine, "churn", reference[0], "--bin=/nowhere")


@pytest.fixture
def hollow_node(plane: ControlPlane, reference: list[str], tmp_path: Path) -> Generator[Api]:
    kubeconfig = plane.folder / "admin.kubeconfig"
    where = ["--node=fast", "--address=10.99.0.99", f"--kubeconfig={kubeconfig}"]
    command = [sys.executable, "-m", "openeni_lab.runtime.hollow_node", *where, *reference]
    log = tmp_path / "log"
    plane.machine.start("fast-node", command, env=enclosure.init_environment(), log=log)
    yield plane.api()
    plane.machine.stop("fast-node")
    assert not log.read_text()


def create(api: Api, name: str) -> None:
    spec = {"nodeName": "fast", "containers": [{"name": "c", "image": "i"}]}
    body = {"metadata": {"name": name}, "spec": {**spec, "terminationGracePeriodSeconds": 0}}
    api.request("POST", PODS, body)


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_pods_bound_to_a_hollow_node_live_and_end(plane: ControlPlane, hollow_node: Api) -> None:
    node = {"metadata": {"name": "fast"}}
    hollow_node.request("POST", "/api/v1/nodes", node)
    for number in range(5):
        create(hollow_node, f"p{number}")
    wait_for(lambda: all(map(ready, hollow_node.items(PODS))), "ready pods")
    pods = hollow_node.items(PODS)
    addresses = {pod["status"]["podIP"] for pod in pods}
    assert len(addresses) == 5
    assert all(not plane.machine.run(["ping", "-c1", "-W2", a]).code for a in addresses)
    wait_for(lambda: hollow_node.get(LEASE), "the lease")
    hollow_node.delete(f"{PODS}/p0", {"gracePeriodSeconds": 30})
    hollow_node.delete(f"{PODS}/p1", {"gracePeriodSeconds": 0})  # by force: no warning
    wait_for(lambda: len(hollow_node.items(PODS)) == 3, "the end of two")
    wait_for(lambda: plane.machine.check(["ip", "link"]).count("veth") == 3, "their links' end")
    for number in range(2, 5):
        hollow_node.delete(f"{PODS}/p{number}")
    wait_for(lambda: not hollow_node.items(PODS), "the end of all")
    wait_for(lambda: not plane.machine.check(["ls", "/run/netns"]), "no namespace")
