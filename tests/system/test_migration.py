"""Nodes go from another CNI plugin to openeni and back, as docs/migration.md says."""

import json
import re
from collections.abc import Iterator
from typing import Final

import pytest

from openeni_crds.names import LABEL_IPVLAN, LABEL_MIGRATE, LABEL_VETH
from openeni_lab.kubernetes.api import MERGE
from openeni_lab.layout import REPOSITORY
from openeni_lab.product import pods, workloads
from openeni_lab.product.chart import CHART, RELEASE
from openeni_lab.product.connectivity import OK, Check, Place, curl
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.helm import Helm
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.node_watch import nodes_stay_ready
from openeni_testing.lab.other_cni import SUBNET, OtherCNI
from openeni_testing.lab.shared_lab import SharedLab
from openeni_testing.waiting import wait_for

pytestmark = [
    pytest.mark.lab,
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.xdist_group("coming and going"),
]

PAGE: Final = REPOSITORY / "docs" / "migration.md"
NODE: Final = "n1"
STAYS: Final = "n2"
HAS_AGENT: Final = "with-agent"  # a label that agent.nodeSelector asks for
SELECTOR: Final = {"matchLabels": {LABEL_MIGRATE: "true"}}


@pytest.fixture
def migrating(
    installed: InstalledLab, shared_lab: SharedLab, other_cni: OtherCNI
) -> Iterator[InstalledLab]:
    """Have every node use another CNI plugin, and no pool yet.

    The other plugin comes before openeni's file goes: a node without both is not Ready.
    """
    other_cni.install()
    shared_lab.kept.clear()
    shared_lab.clean()
    wait_for(
        lambda: not any(lab.has_file(installed, name, lab.CONFLIST) for name in installed.nodes),
        "the end of openeni's files",
        lab.PATIENCE,
    )
    yield installed
    label(installed, NODE, LABEL_MIGRATE, None)
    label(installed, STAYS, HAS_AGENT, None)


def label(installed: InstalledLab, node: str, name: str, value: str | None) -> None:
    body = {"metadata": {"labels": {name: value}}}
    installed.api.request("PATCH", f"/api/v1/nodes/{node}", body, MERGE)


def labels(installed: InstalledLab, node: str) -> set[str]:
    return set(installed.api.request("GET", f"/api/v1/nodes/{node}")["metadata"]["labels"])


def wait_for_file(installed: InstalledLab, *, wanted: bool) -> None:
    """Wait until the node has openeni's configuration, or has it no more."""
    wait_for(
        lambda: lab.has_file(installed, NODE, lab.CONFLIST) == wanted,
        f"openeni's file is {'there' if wanted else 'gone'}",
        lab.PATIENCE,
    )


def answers(installed: InstalledLab, address: str) -> bool:
    check = Check("gateway to pod", Place.GATEWAY, "", curl(address), OK)
    return installed.reach.run(check).ok


def test_a_node_migrates_to_openeni_and_back_and_every_node_stays_ready(
    migrating: InstalledLab, other_cni: OtherCNI
) -> None:
    with nodes_stay_ready(migrating.api):
        migrating.api.apply([workloads.pool("moved", nodeSelector=SELECTOR)])
        old = lab.start_on(migrating, NODE, "old")
        assert old["status"]["podIP"].startswith(f"{SUBNET}.")

        label(migrating, NODE, LABEL_MIGRATE, "true")
        wait_for_file(migrating, wanted=True)
        other_cni.remove(NODE)
        new = lab.start_on(migrating, NODE, "new", "moved")
        address = new["status"]["podIP"]
        assert address.startswith("10.98.")
        assert answers(migrating, address)
        (still,) = lab.wait_for_pods(migrating, "old", 1)
        assert still["status"]["podIP"] == old["status"]["podIP"]

        other_cni.install(NODE)
        label(migrating, NODE, LABEL_MIGRATE, None)
        migrating.api.delete(f"{lab.DEPLOYMENTS}/new")
        wait_for_file(migrating, wanted=False)
        back = lab.start_on(migrating, NODE, "back")
        assert back["status"]["podIP"].startswith(f"{SUBNET}.")
    assert lab.enis_of(migrating, "moved") == []


def test_an_agent_is_taken_off_a_node_and_nothing_of_openeni_stays_there(
    migrating: InstalledLab, helm: Helm
) -> None:
    section = PAGE.read_text().partition("## Taking the agent off a node")[2]
    (command,) = re.findall(r"`kubectl (label node NODE [^`]*)`", section)
    revision = json.loads(helm.run("history", RELEASE, "--output=json"))[-1]["revision"]
    label(migrating, STAYS, HAS_AGENT, "yes")
    with nodes_stay_ready(migrating.api):
        migrating.api.apply([workloads.pool("leaves", nodeSelector=SELECTOR)])
        label(migrating, NODE, LABEL_MIGRATE, "true")
        wait_for_file(migrating, wanted=True)
        narrow(migrating, helm)  # too early: nobody cleans the node
        assert lab.has_file(migrating, NODE, lab.CONFLIST)

        helm.run("rollback", RELEASE, str(revision))  # "bring it back"
        label(migrating, NODE, LABEL_MIGRATE, None)
        wait_for_file(migrating, wanted=False)
        narrow(migrating, helm)
        assert {LABEL_VETH, LABEL_IPVLAN} <= labels(migrating, NODE)
        migrating.reach.kubectl_out(*command.replace("NODE", NODE).split())
        assert lab.start_on(migrating, NODE, "after")["status"]["podIP"].startswith(f"{SUBNET}.")
    assert not {LABEL_VETH, LABEL_IPVLAN} & labels(migrating, NODE)


def narrow(installed: InstalledLab, helm: Helm) -> None:
    """Take the agent off the node by agent.nodeSelector."""
    wanted = f"--set-string=agent.nodeSelector.{HAS_AGENT}=yes"
    helm.run("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", wanted)
    wait_for(lambda: pods.rolled_out(installed.api, 1), "one agent", lab.PATIENCE)

    def gone() -> bool:
        return all(c.node != NODE for c in pods.containers(installed.api) if c.component == "agent")

    wait_for(gone, f"no agent on {NODE}", lab.PATIENCE)
