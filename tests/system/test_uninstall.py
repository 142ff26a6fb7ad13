"""Uninstalling with Helm, and installing again, on nodes with and without another CNI plugin."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any, Final

import pytest

from openeni_lab.cloud.access import client_environment
from openeni_lab.layout import REPOSITORY
from openeni_lab.machine.client import Machine
from openeni_lab.product import pods, workloads
from openeni_lab.product.chart import NAMESPACE, RELEASE
from openeni_lab.product.connectivity import OK, Check, Place, curl
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import CNI_PLUGINS
from openeni_lab.progress import LogProgress
from openeni_testing.helm import Helm
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.node_watch import nodes_stay_ready
from openeni_testing.lab.shared_lab import SharedLab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root, pytest.mark.xdist_group("coming and going")]

Json = dict[str, Any]

PAGE: Final = REPOSITORY / "docs" / "upgrade.md"
UNINSTALL_SECONDS: Final = 330
OTHER: Final = "/etc/cni/net.d/20-other.conflist"
PLUGIN: Final = {
    "type": "ptp",
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]]},
}
OTHER_TEXT: Final = json.dumps({"cniVersion": "1.0.0", "name": "other", "plugins": [PLUGIN]})
CLUSTER_KINDS: Final = (
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
)


@pytest.fixture
def served(installed: InstalledLab, shared_lab: SharedLab) -> InstalledLab:
    """Deploy pods on a pool of this test alone, and remove what other tests had kept."""
    shared_lab.kept.clear()
    shared_lab.clean()
    installed.api.apply([workloads.pool("going")])
    lab.deploy(installed, "going", "going", 2)
    return installed


def uninstall(helm: Helm) -> tuple[int, str]:
    done = helm.try_run("uninstall", RELEASE, seconds=UNINSTALL_SECONDS)
    return done.returncode, done.stdout + done.stderr


def remove_pool(installed: InstalledLab) -> None:
    installed.api.delete(f"{lab.DEPLOYMENTS}/going")
    installed.api.delete(f"{lab.POOLS}/going")


def marks(installed: InstalledLab) -> list[str]:
    """Return what is left of openeni in the cluster, except CRDs and the administrator's Secret."""
    found: list[str] = []
    for node in installed.api.items("/api/v1/nodes"):
        taints = [taint["key"] for taint in node["spec"].get("taints", ())]
        found += [key for key in (*node["metadata"]["labels"], *taints) if "openeni" in key]
    for path in CLUSTER_KINDS:
        names = (o["metadata"]["name"] for o in installed.api.items(path))
        found += [name for name in names if name.startswith("openeni")]
    for kind in ("pods", "serviceaccounts", "configmaps", "secrets"):
        listed = installed.api.items(f"/api/v1/namespaces/{NAMESPACE}/{kind}")
        names = (o["metadata"]["name"] for o in listed)
        found += [n for n in names if n not in {"default", "kube-root-ca.crt", "openeni-clouds"}]
    return found


def traces(machine: Machine) -> list[str]:
    """Return what is left of openeni on a node, except the folder /run/openeni."""
    folders = "/etc/cni/net.d /opt/cni/bin /run/NetworkManager /run/systemd /run/udev/rules.d"
    files = machine.run(["sh", "-c", f"find {folders} -name '*openeni*' 2>/dev/null"]).text
    tables = machine.run(["nft", "list", "tables"]).text.splitlines()
    ours = [line for line in tables if "openeni" in line]
    return [*files.splitlines(), *ours, *lab.kernel_state(machine)]


def test_while_a_pool_exists_it_is_refused_and_nothing_changes(
    served: InstalledLab, helm: Helm
) -> None:
    with nodes_stay_ready(served.api):
        code, said = uninstall(helm)
    assert code != 0
    assert "pools exist: going" in said
    revisions = json.loads(helm.run("history", RELEASE, "--output=json"))
    helm.run("rollback", RELEASE, str(revisions[-1]["revision"]))  # as the message says
    assert pods.rolled_out(served.api, len(served.nodes))
    lab.scale(served, "going", 4)
    lab.wait_for_pods(served, "going", 4)
    assert uninstall(helm)[0] != 0
    served.reload(LogProgress())  # from where a refusal leaves Helm's release
    assert pods.rolled_out(served.api, len(served.nodes))


def test_after_the_last_pool_nothing_is_left_and_openeni_can_come_again(
    served: InstalledLab, helm: Helm
) -> None:
    remove_pool(served)
    code, said = uninstall(helm)  # it waits for the pool, its ENIs and the nodes
    assert code == 0, said
    assert lab.neutron_ports(served) == {}
    wait_for(lambda: not marks(served), "the pods' end", lab.PATIENCE)
    assert {name: traces(machine) for name, machine in served.nodes.items()} == {
        name: [] for name in served.nodes
    }
    served.reload(LogProgress())
    served.api.apply([workloads.pool("again")])
    lab.deploy(served, "again", "again", 2)
    lab.wait_until_all_agree(served, "again")


def test_by_force_pods_go_on_and_a_new_installation_takes_all_of_it_up(
    served: InstalledLab, helm: Helm
) -> None:
    before, ports = addresses(served), set(lab.neutron_ports(served))
    with nodes_stay_ready(served.api):
        helm.run("uninstall", RELEASE, "--no-hooks")
        wait_for(lambda: not marked_pods(served), "the end of openeni's pods", lab.PATIENCE)
        for address in before:
            check = Check(f"gateway to {address}", Place.GATEWAY, "", curl(address), OK)
            assert served.reach.run(check).ok
        served.reload(LogProgress())
        lab.scale(served, "going", 4)
        lab.wait_for_pods(served, "going", 4)
    assert before < addresses(served)
    assert set(lab.neutron_ports(served)) >= ports
    lab.wait_until_all_agree(served, "going")


def addresses(installed: InstalledLab) -> set[str]:
    return {pod.address for pod in installed.reach.pods("going")}


def marked_pods(installed: InstalledLab) -> list[Json]:
    return installed.api.items(pods.PODS, labelSelector="app.kubernetes.io/component")


@pytest.fixture
def other_cni(served: InstalledLab) -> Iterator[InstalledLab]:
    """Put another CNI plugin's configuration behind openeni's on every node."""
    plugins = prepared.read([CNI_PLUGINS.name]).built.bin("ptp").parent
    for machine in served.nodes.values():
        machine.check(["sh", "-c", f"cp {plugins}/ptp {plugins}/host-local /opt/cni/bin/"])
        machine.check(["sh", "-c", f"cat > {OTHER}"], stdin=OTHER_TEXT.encode())
    yield served
    for machine in served.nodes.values():
        machine.check(["rm", "-f", OTHER])


def told(installed: InstalledLab) -> bool:
    """Return whether the pool `later` names both nodes."""
    message = lab.wait_for_condition(installed, "later", "Supported", "False", "OtherCNI")
    return "nodes n1, n2, where another CNI plugin is configured" in message


def test_nodes_with_another_cni_plugin_stay_ready_and_are_taken_over_by_it(
    other_cni: InstalledLab, helm: Helm
) -> None:
    remove_pool(other_cni)
    with nodes_stay_ready(other_cni.api):
        code, said = uninstall(helm)
        assert code == 0, said
        other_cni.api.apply([workloads.deployment("after", "", 4)])
        found = lab.wait_for_pods(other_cni, "after", 4)
        assert {pod["status"]["podIP"].rpartition(".")[0] for pod in found} == {"10.88.0"}
        other_cni.reload(LogProgress())
        other_cni.api.apply([workloads.pool("later")])
        wait_for(lambda: told(other_cni), "both nodes are named", lab.PATIENCE)


def test_the_ports_of_a_deleted_cluster_are_found_and_deleted_as_the_page_says(
    installed: InstalledLab,
) -> None:
    """The servers are gone, and with them the operator; another cluster's ports must stay."""
    one, other = (str(uuid.uuid4()) for _ in range(2))
    made = "openstack port create --network pods --tag openeni-cluster={0} {1} -f value -c id"
    ids = {
        name: openstack(installed, made.format(cluster, name))
        for cluster, name in ((one, "left-1"), (one, "left-2"), (other, "others"))
    }
    count, delete = re.findall(
        r"```sh\n(.*?)\n```", PAGE.read_text().partition("## After a cluster")[2]
    )
    counted = openstack(installed, count)
    assert f"2 openeni-cluster={one}" in counted
    assert f"1 openeni-cluster={other}" in counted
    openstack(installed, delete, UID_OF_CLUSTER=one)
    left = openstack(installed, "openstack port list -f value -c ID").split()
    assert {name for name, port in ids.items() if port in left} == {"others"}
    openstack(installed, f"openstack port delete {ids['others']}")


def openstack(installed: InstalledLab, command: str, **variables: str) -> str:
    """Run a shell command with OpenStack's client in the lab."""
    path = f"{installed.lab.built.openstack_venv / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {**client_environment(installed.lab.layout), "PATH": path, **variables}
    return installed.lab.machine.check(["sh", "-ec", command], env=environment, timeout=120)
