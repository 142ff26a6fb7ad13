"""Uninstalling with Helm, and installing again, on nodes with and without another CNI plugin."""

import json
import re
import uuid
from typing import Any, Final

import pytest

from openeni_lab.cloud.access import client_environment
from openeni_lab.layout import REPOSITORY
from openeni_lab.machine.client import Machine
from openeni_lab.product import pods, workloads
from openeni_lab.product.chart import NAMESPACE, RELEASE
from openeni_lab.product.connectivity import OK, Check, Place, curl
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.progress import LogProgress
from openeni_testing.helm import Helm
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.node_watch import all_ready, nodes_stay_ready
from openeni_testing.lab.other_cni import SUBNET, OtherCNI
from openeni_testing.waiting import wait_for

pytestmark = [
    pytest.mark.lab,
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.xdist_group("coming and going"),
]

Json = dict[str, Any]

PAGE: Final = REPOSITORY / "docs" / "upgrade.md"
UNINSTALL_SECONDS: Final = 330
WITH_OTHER, ALONE = "n1", "n2"  # a node with another CNI plugin, and one without
GUARD: Final = "/run/systemd/networkd.conf.d/90-openeni.conf"  # on a node as long as it has an ENI
CLUSTER_KINDS: Final = (
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
)


def uninstall(helm: Helm) -> tuple[int, str]:
    done = helm.try_run("uninstall", RELEASE, seconds=UNINSTALL_SECONDS)
    return done.returncode, done.stdout + done.stderr


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
    deployed: InstalledLab, helm: Helm
) -> None:
    with nodes_stay_ready(deployed.api):
        code, said = uninstall(helm)
        assert code != 0
        assert f"pools exist: {lab.VETH}" in said
        assert deployed.api.request("GET", lab.UNINSTALL_JOB)["status"]["failed"] == 1  # no retry
        revisions = json.loads(helm.run("history", RELEASE, "--output=json"))
        helm.run("rollback", RELEASE, str(revisions[-1]["revision"]))  # as the message says
        assert pods.rolled_out(deployed.api, len(deployed.nodes))
        lab.scale(deployed, lab.WEB, lab.REPLICAS + 1)
        lab.wait_for_pods(deployed, lab.WEB, lab.REPLICAS + 1)


def test_by_force_pods_go_on_and_a_new_installation_takes_all_of_it_up(
    deployed: InstalledLab, helm: Helm
) -> None:
    before, ports = addresses(deployed), set(lab.neutron_ports(deployed))
    with nodes_stay_ready(deployed.api):
        helm.run("uninstall", RELEASE, "--no-hooks")
        wait_for(lambda: not marked_pods(deployed), "the end of openeni's pods", lab.PATIENCE)
        for address in before:
            check = Check(f"gateway to {address}", Place.GATEWAY, "", curl(address), OK)
            assert deployed.reach.run(check).ok
        deployed.reload(LogProgress())
        lab.scale(deployed, lab.WEB, lab.REPLICAS + 2)
        lab.wait_for_pods(deployed, lab.WEB, lab.REPLICAS + 2)
    assert before < addresses(deployed)
    assert set(lab.neutron_ports(deployed)) >= ports
    lab.wait_until_all_agree(deployed, lab.VETH)


def addresses(installed: InstalledLab) -> set[str]:
    return {pod.address for pod in installed.reach.pods(lab.WEB)}


def marked_pods(installed: InstalledLab) -> list[Json]:
    return installed.api.items(pods.PODS, labelSelector="app.kubernetes.io/component")


def test_after_the_last_pool_nothing_is_left_and_openeni_can_come_again(
    deployed: InstalledLab, shared: set[str], helm: Helm, other_cni: OtherCNI
) -> None:
    shared.clear()
    assert all(GUARD in traces(machine) for machine in deployed.nodes.values())
    other_cni.install(WITH_OTHER)
    for path in (f"{lab.DEPLOYMENTS}/{lab.WEB}", f"{lab.POOLS}/{lab.VETH}"):
        deployed.api.delete(path)
    with nodes_stay_ready(deployed.api, WITH_OTHER):
        code, said = uninstall(helm)  # it waits for the pool, its ENIs and the nodes
        assert code == 0, said
        assert lab.neutron_ports(deployed) == {}
        wait_for(lambda: not marks(deployed), "the pods' end", lab.PATIENCE)
        assert {name: traces(machine) for name, machine in deployed.nodes.items()} == {
            name: [] for name in deployed.nodes
        }
        pod = lab.start_on(deployed, WITH_OTHER, "after")
        assert pod["status"]["podIP"].startswith(f"{SUBNET}.")
        wait_for(
            lambda: not all_ready(deployed.api, [ALONE]),
            f"{ALONE} has no network, as before the installation",
            lab.PATIENCE,
        )
        deployed.reload(LogProgress())
        deployed.api.apply([workloads.pool(lab.VETH)])
        said = lab.wait_for_condition(deployed, lab.VETH, "Supported", "False", "OtherCNI")
        assert f"node {WITH_OTHER}, where another CNI plugin is configured" in said
    other_cni.remove(WITH_OTHER)
    lab.deploy(deployed, lab.WEB, lab.VETH, lab.REPLICAS)
    lab.wait_until_all_agree(deployed, lab.VETH)
    shared.update((lab.VETH, lab.WEB))  # as they were


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
