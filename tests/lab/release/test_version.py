"""The version is changed in pyproject.toml, and written from there into all other files."""

import shutil
from pathlib import Path

import pytest

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.release import version
from openeni_testing.objects import REPOSITORY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Copy what has the version into a folder."""
    for path in (version.PROJECT, *version.files().texts):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, tmp_path / path)
    return tmp_path


def test_the_files_of_this_repository_have_its_version() -> None:
    assert version.files().differing() == []
    assert {*version.found_versions().values()} >= {(BUNDLE_VERSION,)}


def test_a_new_version_is_written_into_code_and_charts(root: Path) -> None:
    project = root / version.PROJECT
    project.write_text(project.read_text().replace(f'"{BUNDLE_VERSION}"', '"7.8.9-rc.1"'))
    assert sorted(version.files(root).differing()) == sorted(version.files(root).texts)
    assert version.files(root).run([]) == 0
    found = version.found_versions(root)
    assert {v for versions in found.values() for v in versions} == {"7.8.9-rc.1"}
    assert len(found["helm/openeni/Chart.yaml"]) >= 3  # of the sub-charts too
    assert 'kubeVersion: ">=1.33' in (root / "helm/openeni/Chart.yaml").read_text()
