"""A release as administrators live it: real Helm, a real API server, no kubelets."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.kubernetes.api import MERGE
from openeni_lab.product import chart
from openeni_lab.product.chart import CHART, NAMESPACE, RELEASE
from openeni_operator.process.crd_version import OWN
from openeni_testing.helm import NEXT, Helm, next_chart
from openeni_testing.objects import REPOSITORY
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NEXT_CRDS: Final = {name: v.replace(BUNDLE_VERSION, NEXT) for name, v in OWN.items()}
POOL: Final = REPOSITORY / "docs" / "examples" / "enipool-veth.yaml"
DAEMONSET: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/openeni-agent"


@pytest.fixture
def changed_chart(tmp_path: Path) -> Path:
    return next_chart(tmp_path)


@pytest.fixture
def older_chart(tmp_path: Path) -> Path:
    """A chart that has the CRDs in the folder crds/, as those before 0014 had."""
    target = tmp_path / "openeni"
    shutil.copytree(CHART, target)
    shutil.rmtree(target / "charts")
    head, _, rest = (target / "Chart.yaml").read_text().partition("dependencies:")
    (target / "Chart.yaml").write_text(head + rest[rest.index("annotations:") :])
    (target / "crds").mkdir()
    for path in sorted((REPOSITORY / "crds").glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        del crd["metadata"]["labels"], crd["metadata"]["annotations"]
        (target / "crds" / path.name).write_text(yaml.safe_dump(crd))
    return target


def log_level(helm: Helm) -> str:
    found = helm.api.request("GET", DAEMONSET)["spec"]["template"]["spec"]["containers"][0]["env"]
    return str(next(e["value"] for e in found if e["name"] == "OPENENI_LOG_LEVEL"))


def short_names(helm: Helm) -> list[str]:
    found = helm.api.request("GET", f"{CRDS}/enipools.openeni.io")
    return list(found["spec"]["names"]["shortNames"])


def test_a_release_is_installed_upgraded_rolled_back_and_removed_without_its_pools(
    empty: Helm, changed_chart: Path
) -> None:
    notes = empty.put("install", "--create-namespace")
    assert "pod-security.kubernetes.io/enforce=privileged" in notes
    wait_for(empty.serves_kinds, "every kind is served")
    empty.api.apply_text(POOL.read_text())
    assert empty.crds() == OWN

    empty.put("upgrade", chart=changed_chart)
    assert (empty.crds(), log_level(empty)) == (NEXT_CRDS, "DEBUG")
    assert "nextpool" in short_names(empty)

    empty.run("rollback", RELEASE, "1")
    assert (empty.crds(), log_level(empty)) == (OWN, "INFO")
    assert "nextpool" not in short_names(empty)

    empty.run("uninstall", RELEASE, "--no-hooks")
    assert empty.api.get(DAEMONSET) is None
    assert len(empty.crds()) == 3
    (pool,) = yaml.safe_load_all(POOL.read_text())
    assert empty.api.get(empty.api.path_of(pool)) is not None

    empty.put("install")  # what was kept is the release's own again
    assert empty.api.get(DAEMONSET) is not None


def test_without_keep_the_crds_go_with_the_release(empty: Helm) -> None:
    empty.put("install", "--create-namespace", values={"crds": {"keep": False}})
    assert len(empty.crds()) == 3
    wait_for(empty.serves_kinds, "every kind is served")
    empty.run("uninstall", RELEASE, "--no-hooks")
    wait_for(lambda: not empty.crds(), "the CRDs are gone")


def _take_over(_: Helm) -> tuple[str, ...]:
    flags = ("--take-ownership", "--force-conflicts")
    assert " ".join(flags) in (REPOSITORY / "docs" / "upgrade.md").read_text()
    return flags


def _mark(helm: Helm) -> tuple[str, ...]:
    marks = {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {
            "meta.helm.sh/release-name": RELEASE,
            "meta.helm.sh/release-namespace": NAMESPACE,
        },
    }
    for name in helm.crds():
        helm.api.request("PATCH", f"{CRDS}/{name}", {"metadata": marks}, MERGE)
    return ("--force-conflicts",)


@pytest.mark.parametrize("adopt", [_take_over, _mark])
def test_crds_that_an_older_chart_had_in_its_crds_folder_are_adopted_as_the_docs_say(
    empty: Helm, older_chart: Path, adopt: Callable[[Helm], tuple[str, ...]]
) -> None:
    empty.put("install", "--create-namespace", chart=older_chart)
    assert set(empty.crds().values()) == {""}
    values: Json = {"image": {"registry": "registry.example"}}
    refused = empty.try_run("upgrade", RELEASE, str(CHART), values=values)
    assert "invalid ownership metadata" in refused.stderr
    empty.put("upgrade", *adopt(empty))
    assert empty.crds() == OWN


def test_crds_can_be_somebody_elses(empty: Helm) -> None:
    empty.put("install", "--create-namespace", values={"crds": {"enabled": False}})
    assert empty.crds() == {}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("pending-upgrade", ("upgrade", RELEASE, str(CHART), "--reuse-values", "--wait")),
        ("uninstalling", ("uninstall", RELEASE)),  # without a controller its hook never ends
    ],
)
def test_the_lab_upgrades_from_where_a_killed_helm_has_left_the_release(
    empty: Helm, status: str, words: tuple[str, ...]
) -> None:
    values: Json = {"image": {"registry": "registry.example"}, "agent": {"logLevel": "DEBUG"}}
    empty.put("install", "--create-namespace")
    empty.kill_during(status, *words)
    refused = empty.try_run("upgrade", RELEASE, str(CHART), values=values)
    assert refused.returncode != 0
    chart.upgrade(empty.program, empty.kubeconfig, empty.folder, values)
    assert log_level(empty) == "DEBUG"
