"""The charts as a release has them: files that Helm renders as it renders the source tree."""

import io
import tarfile
from pathlib import Path

import pytest
import yaml

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_lab.release.artifacts import CHARTS, digest, package_chart, sort_archive
from openeni_testing.helm import Helm
from openeni_testing.objects import REPOSITORY

pytestmark = pytest.mark.cluster

SECONDS = 1_700_000_000


def packages(folder: Path) -> dict[str, Path]:
    helm = prepared.read(["helm"]).built.bin("helm")
    folder.mkdir()
    for place in CHARTS:
        package_chart(helm, place, folder, SECONDS)
    return {path.name: path for path in folder.iterdir()}


def test_a_release_has_both_charts_under_its_version(tmp_path: Path) -> None:
    names = {f"{name}-{BUNDLE_VERSION}.tgz" for name in ("openeni", "openeni-crds")}
    assert set(packages(tmp_path / "one")) == names


def test_two_packages_of_a_commit_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = packages(tmp_path / "one"), packages(tmp_path / "other")
    assert {n: digest(p) for n, p in one.items()} == {n: digest(p) for n, p in other.items()}


def test_an_archive_is_the_same_in_whatever_order_its_files_were(tmp_path: Path) -> None:
    """Helm goes through its map of sub-charts."""
    names = ["openeni/Chart.yaml", "openeni/charts/b/Chart.yaml", "openeni/charts/a/Chart.yaml"]
    archives = [tmp_path / "one.tgz", tmp_path / "other.tgz"]
    for archive, order in zip(archives, (names, names[::-1]), strict=True):
        with tarfile.open(archive, "w:gz") as written:
            for name in order:
                member = tarfile.TarInfo(name)
                member.size = len(name)
                written.addfile(member, io.BytesIO(name.encode()))
        sort_archive(archive, SECONDS)
    one, other = archives
    assert digest(one) == digest(other)
    with tarfile.open(one) as read:
        assert read.getnames() == sorted(names)
        assert read.extractfile(names[1]).read() == names[1].encode()  # type: ignore[union-attr]


def test_helm_renders_a_package_as_it_renders_the_source(helm: Helm, tmp_path: Path) -> None:
    package = packages(tmp_path / "one")[f"openeni-{BUNDLE_VERSION}.tgz"]
    values = {"image": {"registry": "registry.example"}}
    rendered = [
        helm.run("template", chart.RELEASE, str(place), values=values)
        for place in (package, chart.CHART)
    ]
    assert rendered[0] == rendered[1]
    assert "kind: CustomResourceDefinition" in rendered[0]


def test_helm_takes_the_values_of_the_examples_for_argo_cd_and_flux(helm: Helm) -> None:
    examples = REPOSITORY / "docs/examples"
    argo = yaml.safe_load((examples / "argocd/openeni.yaml").read_text())
    *_, flux = yaml.safe_load_all((examples / "flux/release.yaml").read_text())
    for values in (argo["spec"]["source"]["helm"]["valuesObject"], flux["spec"]["values"]):
        kinds = {document["kind"] for document in helm.render(values)}
        assert {"Deployment", "DaemonSet"} <= kinds
