"""An upgrade and its rollback, as docs/upgrade.md says, with pods and every Node watched."""

import json
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.layout import REPOSITORY
from openeni_lab.product import pods, workloads
from openeni_lab.product.chart import CHART, RELEASE
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.helm import NEXT, Helm, next_chart
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.node_watch import nodes_stay_ready
from openeni_testing.waiting import wait_for

pytestmark = [
    pytest.mark.lab,
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.xdist_group("coming and going"),
]

PAGE: Final = REPOSITORY / "docs" / "upgrade.md"
CRD: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/enipools.openeni.io"
KEEP: Final = "--reset-then-reuse-values"
TEST_SECONDS: Final = 180  # two pods, one after the other


def test_an_upgrade_and_its_rollback_replace_every_pod_and_every_node_stays_ready(
    deployed: InstalledLab, helm: Helm, tmp_path: Path
) -> None:
    assert f"helm upgrade {RELEASE} helm/{CHART.name} -n openeni-system {KEEP}" in PAGE.read_text()
    chart = next_chart(tmp_path)
    revision = json.loads(helm.run("history", RELEASE, "--output=json"))[-1]["revision"]
    with nodes_stay_ready(deployed.api):
        first = product_pods(deployed)
        helm.run("upgrade", RELEASE, str(chart), KEEP)
        second = wait_until_replaced(deployed, first)
        assert crd_version(deployed) == NEXT
        tested = helm.try_run("test", RELEASE)  # the images are of the tree, as before
        assert tested.returncode != 0
        assert "the CRDs are not those of this operator's build" in tested.stdout + tested.stderr
        serve_one_more(deployed, lab.REPLICAS + 1)

        helm.run("rollback", RELEASE, str(revision))
        wait_until_replaced(deployed, second)
        assert crd_version(deployed) == BUNDLE_VERSION
        tested = helm.try_run("test", RELEASE, seconds=TEST_SECONDS)
        assert tested.returncode == 0, tested.stderr
        mistaken: list[dict[str, str]] = [{"name": "nope"}]
        deployed.api.apply([workloads.pool("typo", subnets=mistaken)])
        tested = helm.try_run("test", RELEASE, seconds=TEST_SECONDS)
        assert tested.returncode != 0
        assert "no subnet with the name 'nope'" in tested.stdout + tested.stderr
        serve_one_more(deployed, lab.REPLICAS + 2)


def product_pods(installed: InstalledLab) -> set[str]:
    """Return the UIDs of openeni's pods."""
    return {found.uid for found in pods.containers(installed.api)}


def wait_until_replaced(installed: InstalledLab, before: set[str]) -> set[str]:
    """Wait until new pods of openeni are ready; return their UIDs."""

    def replaced() -> set[str]:
        assert pods.rolled_out(installed.api, len(installed.nodes))
        now = product_pods(installed)
        assert not now & before, "old pods"
        return now

    return wait_for(replaced, "new pods of openeni", lab.PATIENCE)


def crd_version(installed: InstalledLab) -> str:
    """Return the release that the CRD is of."""
    found = installed.api.request("GET", CRD)
    version = str(found["metadata"]["annotations"]["openeni.io/bundle-version"])
    return version.partition("+")[0]


def serve_one_more(installed: InstalledLab, replicas: int) -> None:
    """Scale up by one: the pods there keep their addresses, and the new one gets its own."""
    before = addresses(installed)
    lab.scale(installed, lab.WEB, replicas)
    lab.wait_for_pods(installed, lab.WEB, replicas)
    assert before < addresses(installed)
    lab.wait_until_all_agree(installed, lab.VETH)


def addresses(installed: InstalledLab) -> set[str]:
    return {pod.address for pod in installed.reach.pods(lab.WEB)}
