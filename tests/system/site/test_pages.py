"""The way of an administrator who has only the site, from the installation to the removal.

The commands are those of the pages' blocks with a mark `journey: <name>`, run as they stand there
but for the names that a reader replaces.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from openeni_lab.cloud import access
from openeni_lab.enter import environment
from openeni_lab.layout import REPOSITORY
from openeni_lab.product import chart
from openeni_lab.product.chart import NAMESPACE, REGISTRY, RELEASE
from openeni_lab.product.connectivity import OK, Check, Place, curl
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.helm import Helm
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.node_watch import nodes_stay_ready
from openeni_testing.lab.other_cni import SUBNET as OTHER_SUBNET
from openeni_testing.lab.other_cni import OtherCNI
from openeni_testing.lab.shared_lab import SharedLab
from openeni_testing.pages.blocks import marked
from openeni_testing.waiting import wait_for

pytestmark = [
    pytest.mark.lab,
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.xdist_group("coming and going"),
    pytest.mark.timeout(1500),  # an installation and a removal, each with what Helm waits for
]

Json = dict[str, Any]

BLOCKS: Final = marked("journey")
SECONDS: Final = 600  # for one block; Helm and kubectl give up earlier
GROUP: Final = "pods-tight"
NODES_GROUP: Final = "of-the-nodes"
SUBNET: Final = "pods-2"
NODE: Final = "n2"  # that migrates


@dataclass
class Journey:
    """A shell in the lab, in a folder that looks like a checkout, and what was done in it."""

    installed: InstalledLab
    folder: Path
    names: dict[str, str]  # what a reader replaces, and by what
    done: list[str] = field(default_factory=list[str])

    def follow(self, name: str) -> str:
        """Run the block of this name; return what it prints. Fails with what it says."""
        script = BLOCKS[name]
        for given, own in self.names.items():
            script = script.replace(given, own)
        self.done.append(name)
        return self.shell(script)

    def shell(self, script: str) -> str:
        into = ["nsenter", f"--target={self.installed.lab.machine.pid()}", "--net", "--"]
        finished = subprocess.run(
            [*into, "sh", "-ec", script],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert finished.returncode == 0, f"{script}\n{finished.stdout}\n{finished.stderr}"
        return finished.stdout

    def _environment(self) -> dict[str, str]:
        own = environment(self.installed.lab)
        paths = [str(self.installed.helm.parent), str(Path(sys.executable).parent), own["PATH"]]
        home = chart.environment(self.folder / "helm-home")
        return {**os.environ, **own, **home, "PATH": ":".join(paths)}


@pytest.fixture
def journey(installed: InstalledLab, shared_lab: SharedLab, helm: Helm, tmp_path: Path) -> Journey:
    """Return a shell in a cluster without openeni; `helm` installs it again afterwards."""
    shared_lab.kept.clear()
    shared_lab.clean()
    done = helm.try_run("uninstall", RELEASE, seconds=330)
    assert done.returncode == 0, done.stderr
    for name in ("helm", "docs", "crds"):  # kubectl follows no link to a folder
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    clouds = {"clouds": {"default": access.operator_cloud(installed.lab.layout)}}
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump(clouds))
    tags = dict(image.name.rsplit(":", 1) for image in installed.images)
    return Journey(
        installed,
        tmp_path,
        {
            "NODES": NODES_GROUP,  # before "NODE", which is a part of it
            "NODE": NODE,
            "registry.example": REGISTRY,
            "OPERATOR_TAG": tags[f"{REGISTRY}/openeni-operator"],
            "AGENT_TAG": tags[f"{REGISTRY}/openeni-agent"],
        },
    )


def test_an_administrator_gets_from_nothing_to_pods_and_back_by_the_pages_alone(
    journey: Journey, other_cni: OtherCNI
) -> None:
    installed = journey.installed
    journey.shell(f"kubectl delete namespace {NAMESPACE}")  # the lab's own, with its Secret
    journey.follow("secret")
    assert "openeni-preflight" in journey.follow("install")
    journey.follow("pool")
    journey.follow("pods")
    before = pods(installed)
    assert len(before) == 4
    assert_reached(installed, before.values())
    assert "pods-" in journey.follow("look")

    journey.shell(f"openstack security group create {NODES_GROUP}")
    journey.follow("tighten")
    wanted = journey.shell(f"openstack security group show {GROUP} -f value -c id").strip()
    assert {tuple(port["security_groups"]) for port in ports(installed)} == {(wanted,)}
    journey.follow("subnet")
    journey.follow("subnet-use")
    assert [subnet["name"] for subnet in status(installed)["subnets"]] == ["pods", SUBNET]
    journey.follow("rotate")

    journey.follow("upgrade")
    history = json.loads(journey.shell(f"helm history {RELEASE} -n {NAMESPACE} -o json"))
    assert [revision["status"] for revision in history] == ["superseded", "deployed"]
    assert pods(installed) == before
    assert_reached(installed, before.values())

    with nodes_stay_ready(installed.api):
        migrate(journey, other_cni)
    assert_reached(installed, pods(installed).values())

    journey.follow("remove")
    assert lab.neutron_ports(installed) == {}
    journey.follow("remove-rest")  # kubectl waits for what ends with the namespace
    crds = installed.api.items("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    assert [crd for crd in crds if crd["spec"]["group"] == "openeni.io"] == []
    journey.shell(
        f"openstack subnet delete {SUBNET}; openstack security group delete {GROUP} {NODES_GROUP}"
    )
    assert sorted(journey.done) == sorted(BLOCKS)


def migrate(journey: Journey, other: OtherCNI) -> None:
    """Take a node to another CNI plugin, and back to openeni."""
    installed = journey.installed
    journey.follow("migrate-select")
    other.install(NODE)
    journey.follow("migrate-from")
    assert [eni for eni in lab.enis_of(installed, "pods") if eni["spec"]["nodeName"] == NODE] == []
    journey.follow("migrated-from")
    wait_for(lambda: not lab.has_file(installed, NODE, lab.CONFLIST), "the end of openeni's file")
    assert_address_on_node(installed, f"{OTHER_SUBNET}.")

    journey.follow("migrate-to")
    assert lab.has_file(installed, NODE, lab.CONFLIST)
    other.remove(NODE)
    journey.follow("migrated-to")
    journey.follow("migrated-all")
    assert_address_on_node(installed, "10.98.")
    journey.shell("kubectl label node --all openeni.io/migrate-")


def assert_address_on_node(installed: InstalledLab, prefix: str) -> None:
    """Assert that a new pod on the node gets an address of this network."""
    started = lab.start_on(installed, NODE, "migrated")
    assert started["status"]["podIP"].startswith(prefix)
    installed.api.delete(f"{lab.DEPLOYMENTS}/migrated")


def pods(installed: InstalledLab) -> dict[str, str]:
    """Return the addresses of the example's pods by their names."""
    found = installed.api.items(lab.PODS, labelSelector="app=hello")
    return {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in found}


def status(installed: InstalledLab) -> Json:
    found: Json = installed.api.request("GET", f"{lab.POOLS}/pods")["status"]
    return found


def ports(installed: InstalledLab) -> list[Json]:
    return list(lab.neutron_ports(installed).values())


def assert_reached(installed: InstalledLab, addresses: Iterable[str]) -> None:
    """Assert that a machine beyond the nodes gets an answer from each address."""
    for address in addresses:
        check = Check(f"gateway to {address}", Place.GATEWAY, "", curl(address), OK)
        wait_for(partial(answers, installed, check), check.path, lab.PATIENCE)


def answers(installed: InstalledLab, check: Check) -> bool:
    return installed.reach.run(check).ok
