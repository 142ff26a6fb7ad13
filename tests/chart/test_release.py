"""A release as administrators live it: real Helm, a real API server, no kubelets."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.kubernetes.api import MERGE, ApiError
from openeni_lab.product.chart import CHART, NAMESPACE, RELEASE
from openeni_testing.helm import NEXT, Helm, next_chart
from openeni_testing.objects import REPOSITORY
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
POOL: Final = REPOSITORY / "docs" / "examples" / "enipool-veth.yaml"
DAEMONSET: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/openeni-agent"
STARTING: Final = 429  # "storage is (re)initializing"


@pytest.fixture
def empty(helm: Helm) -> Iterator[Helm]:
    """An API server without a release and without CRDs, before and after."""
    yield helm
    helm.try_run("uninstall", RELEASE, "--no-hooks")
    for name in crds(helm):
        helm.api.delete(f"{CRDS}/{name}")
    wait_for(lambda: not crds(helm), "the CRDs are gone")


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


def crds(helm: Helm) -> dict[str, str]:
    """Return the version of each CRD of openeni by its name."""
    found = [c for c in helm.api.items(CRDS) if c["spec"]["group"] == "openeni.io"]
    return {
        c["metadata"]["name"]: c["metadata"]
        .get("annotations", {})
        .get("openeni.io/bundle-version", "")
        for c in found
    }


def served(helm: Helm) -> bool:
    """Return True if the API server serves ENIPools."""
    try:
        return helm.api.get("/apis/openeni.io/v1alpha1/enipools") is not None
    except ApiError as error:
        if error.status != STARTING:
            raise
        return False


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
    wait_for(lambda: served(empty), "ENIPools are served")
    empty.api.apply_text(POOL.read_text())
    assert set(crds(empty).values()) == {BUNDLE_VERSION}

    empty.put("upgrade", chart=changed_chart)
    assert (set(crds(empty).values()), log_level(empty)) == ({NEXT}, "DEBUG")
    assert "nextpool" in short_names(empty)

    empty.run("rollback", RELEASE, "1")
    assert (set(crds(empty).values()), log_level(empty)) == ({BUNDLE_VERSION}, "INFO")
    assert "nextpool" not in short_names(empty)

    empty.run("uninstall", RELEASE, "--no-hooks")
    assert empty.api.get(DAEMONSET) is None
    assert len(crds(empty)) == 3
    (pool,) = yaml.safe_load_all(POOL.read_text())
    assert empty.api.get(empty.api.path_of(pool)) is not None

    empty.put("install")  # what was kept is the release's own again
    assert empty.api.get(DAEMONSET) is not None


def test_without_keep_the_crds_go_with_the_release(empty: Helm) -> None:
    empty.put("install", "--create-namespace", values={"crds": {"keep": False}})
    assert len(crds(empty)) == 3
    empty.run("uninstall", RELEASE, "--no-hooks")
    wait_for(lambda: not crds(empty), "the CRDs are gone")


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
    for name in crds(helm):
        helm.api.request("PATCH", f"{CRDS}/{name}", {"metadata": marks}, MERGE)
    return ("--force-conflicts",)


@pytest.mark.parametrize("adopt", [_take_over, _mark])
def test_crds_that_an_older_chart_had_in_its_crds_folder_are_adopted_as_the_docs_say(
    empty: Helm, older_chart: Path, adopt: Callable[[Helm], tuple[str, ...]]
) -> None:
    empty.put("install", "--create-namespace", chart=older_chart)
    assert set(crds(empty).values()) == {""}
    values: Json = {"image": {"registry": "registry.example"}}
    refused = empty.try_run("upgrade", RELEASE, str(CHART), values=values)
    assert "invalid ownership metadata" in refused.stderr
    empty.put("upgrade", *adopt(empty))
    assert set(crds(empty).values()) == {BUNDLE_VERSION}


def test_crds_can_be_somebody_elses(empty: Helm) -> None:
    empty.put("install", "--create-namespace", values={"crds": {"enabled": False}})
    assert crds(empty) == {}
