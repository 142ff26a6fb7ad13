"""A node goes from another CNI plugin to openeni and back, as docs/migration.md says."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from openeni_lab.kubernetes.api import MERGE
from openeni_lab.product import workloads
from openeni_lab.product.connectivity import OK, Check, Place, curl
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import CNI_PLUGINS
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.node_watch import nodes_stay_ready
from openeni_testing.lab.shared_lab import SharedLab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root, pytest.mark.xdist_group("coming and going")]

Json = dict[str, Any]

NODE: Final = "n1"
LABEL: Final = "openeni.io/migrate"
OURS: Final = "/etc/cni/net.d/10-openeni.conflist"
OTHER: Final = "/etc/cni/net.d/20-other.conflist"
SUBNET: Final = "10.88.0"
PLUGIN: Final = {
    "type": "ptp",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": f"{SUBNET}.0/24"}]]},
}
OTHER_TEXT: Final = json.dumps({"cniVersion": "1.0.0", "name": "other", "plugins": [PLUGIN]})


@pytest.fixture
def with_other_cni(installed: InstalledLab, shared_lab: SharedLab) -> Iterator[InstalledLab]:
    """Have every node use another CNI plugin, and no pool yet.

    The other plugin comes before openeni's file goes: a node without both is not Ready.
    """
    plugins = prepared.read([CNI_PLUGINS.name]).built.bin("ptp").parent
    for machine in installed.nodes.values():
        machine.check(["sh", "-c", f"cp {plugins}/ptp {plugins}/host-local /opt/cni/bin/"])
        machine.check(["sh", "-c", f"cat > {OTHER}"], stdin=OTHER_TEXT.encode())
    shared_lab.kept.clear()
    shared_lab.clean()
    wait_for(
        lambda: not any(has(installed, OURS, name) for name in installed.nodes),
        "the end of openeni's files",
        lab.PATIENCE,
    )
    yield installed
    label(installed, None)
    for machine in installed.nodes.values():
        machine.check(["rm", "-f", OTHER])


def label(installed: InstalledLab, value: str | None) -> None:
    body = {"metadata": {"labels": {LABEL: value}}}
    installed.api.request("PATCH", f"/api/v1/nodes/{NODE}", body, MERGE)


def start_pod(installed: InstalledLab, name: str, pool: str = "") -> Json:
    """Start a pod on the node; return it once it is ready."""
    body = workloads.deployment(name, pool, 1)
    body["spec"]["template"]["spec"]["nodeName"] = NODE
    installed.api.apply([body])
    (pod,) = lab.wait_for_pods(installed, name, 1)
    return pod


def has(installed: InstalledLab, path: str, node: str = NODE) -> bool:
    return installed.nodes[node].run(["test", "-e", path]).code == 0


def test_a_node_migrates_to_openeni_and_back_and_every_node_stays_ready(
    with_other_cni: InstalledLab,
) -> None:
    installed = with_other_cni
    with nodes_stay_ready(installed.api):
        selector = {"matchLabels": {LABEL: "true"}}
        installed.api.apply([workloads.pool("moved", nodeSelector=selector)])
        old = start_pod(installed, "old")
        assert old["status"]["podIP"].startswith(f"{SUBNET}.")

        label(installed, "true")
        wait_for(lambda: has(installed, OURS), "openeni's file", lab.PATIENCE)
        installed.nodes[NODE].check(["rm", OTHER])
        new = start_pod(installed, "new", "moved")
        address = new["status"]["podIP"]
        assert address.startswith("10.98.")
        assert installed.reach.run(Check("gateway to pod", Place.GATEWAY, "", curl(address), OK)).ok
        (still,) = lab.wait_for_pods(installed, "old", 1)
        assert still["status"]["podIP"] == old["status"]["podIP"]

        installed.nodes[NODE].check(["sh", "-c", f"cat > {OTHER}"], stdin=OTHER_TEXT.encode())
        label(installed, None)
        installed.api.delete(f"{lab.DEPLOYMENTS}/new")
        wait_for(lambda: not has(installed, OURS), "the end of openeni's file", lab.PATIENCE)
        back = start_pod(installed, "back")
        assert back["status"]["podIP"].startswith(f"{SUBNET}.")
    assert lab.enis_of(installed, "moved") == []
