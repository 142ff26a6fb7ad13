"""The examples for Argo CD and Flux fit the chart, each other, and what the page says of them."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from openeni_crds.names import BUNDLE_VERSION
from openeni_testing.objects import REPOSITORY
from openeni_testing.pages.chart_values import SCHEMA, has, keys

Json = dict[str, Any]

EXAMPLES: Final = REPOSITORY / "docs" / "examples"
CHART: Final[Json] = yaml.safe_load((REPOSITORY / "helm/openeni/Chart.yaml").read_text())
DEFAULTS: Final[Json] = yaml.safe_load((REPOSITORY / "helm/openeni/values.yaml").read_text())
PRIVILEGED: Final = {"pod-security.kubernetes.io/enforce": "privileged"}
NAMESPACE: Final = "openeni-system"
PREFLIGHT: Final = "openeni-preflight"
WAVE: Final = "argocd.argoproj.io/sync-wave"


def documents(folder: str) -> Iterator[Json]:
    for path in sorted((EXAMPLES / folder).glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


ARGO: Final = {d["metadata"]["name"]: d for d in documents("argocd")}
FLUX: Final = {(d["kind"], d["metadata"]["name"]): d for d in documents("flux")}
RELEASE: Final = FLUX["HelmRelease", "openeni"]["spec"]
VALUES: Final = {
    "argocd": ARGO["openeni"]["spec"]["source"]["helm"]["valuesObject"],
    "flux": RELEASE["values"],
}


@pytest.mark.parametrize("folder", VALUES)
def test_each_value_is_one_of_the_chart(folder: str) -> None:
    values = [*keys(VALUES[folder])]
    assert ("image", "registry") in values
    assert [path for path in values if not has(SCHEMA, [*path])] == []


def test_both_name_this_chart_and_this_release() -> None:
    source = ARGO["openeni"]["spec"]["source"]
    assert (source["chart"], source["targetRevision"]) == (CHART["name"], BUNDLE_VERSION)
    repository = FLUX["OCIRepository", RELEASE["chartRef"]["name"]]["spec"]
    assert repository["url"].rpartition("/")[2] == CHART["name"]
    assert repository["ref"] == {"tag": BUNDLE_VERSION}
    assert RELEASE["chartRef"]["kind"] == "OCIRepository"
    assert RELEASE["releaseName"] == source["helm"]["releaseName"] == CHART["name"]


def test_both_install_into_a_namespace_in_which_the_agents_may_run() -> None:
    spec = ARGO["openeni"]["spec"]
    assert spec["destination"]["namespace"] == NAMESPACE
    assert spec["syncPolicy"]["managedNamespaceMetadata"]["labels"] == PRIVILEGED
    assert "CreateNamespace=true" in spec["syncPolicy"]["syncOptions"]
    assert FLUX["Namespace", NAMESPACE]["metadata"]["labels"] == PRIVILEGED
    assert FLUX["HelmRelease", "openeni"]["metadata"]["namespace"] == NAMESPACE


def test_pools_come_after_the_chart_and_end_before_their_owner_does() -> None:
    waves = {name: int(app["metadata"]["annotations"][WAVE]) for name, app in ARGO.items()}
    assert waves["openeni"] < waves["openeni-pools"]
    for app in ARGO.values():
        assert app["metadata"]["finalizers"] == ["resources-finalizer.argocd.argoproj.io"]
    pools = FLUX["Kustomization", "openeni-pools"]["spec"]
    assert pools["dependsOn"] == [{"name": "openeni"}]
    assert FLUX["Kustomization", "openeni"]["spec"]["wait"]
    assert pools["deletionPolicy"] == "WaitForTermination"


def test_no_pool_is_pruned_and_crds_are_applied_by_the_server() -> None:
    assert not ARGO["openeni-pools"]["spec"]["syncPolicy"]["automated"]["prune"]
    assert not FLUX["Kustomization", "openeni-pools"]["spec"]["prune"]
    for app in ARGO.values():
        assert "ServerSideApply=true" in app["spec"]["syncPolicy"]["syncOptions"]


def test_flux_waits_longer_than_the_chart_does() -> None:
    minutes = int(RELEASE["timeout"].removesuffix("m"))
    assert minutes * 60 > DEFAULTS["hooks"]["waitSeconds"]


def test_no_test_of_the_release_depends_on_the_pools_that_come_after_it() -> None:
    assert RELEASE["test"]["enable"]
    (left_out,) = RELEASE["test"]["filters"]
    assert left_out == {"name": PREFLIGHT, "exclude": True}
    assert f"name: {PREFLIGHT}\n" in (REPOSITORY / "helm/openeni/templates/test.yaml").read_text()


def test_the_page_names_every_object_of_the_examples() -> None:
    text = (REPOSITORY / "docs/gitops.md").read_text()
    assert not [name for name in ARGO if f"application {name}" not in text]
    kustomizations = [name for kind, name in FLUX if kind == "Kustomization"]
    assert not [name for name in kustomizations if f"kustomization {name}" not in text]
