"""Labs for tests, in temporary folders: one with a network only, one with OpenStack."""

from collections.abc import Iterator

import pytest

from openeni_testing.lab.small_lab import SmallLab


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    lab = SmallLab.start(tmp_path_factory.mktemp("lab"), "wires")
    yield lab
    lab.remove()


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallLab]:
    lab = SmallLab.start(tmp_path_factory.mktemp("lab"), "cloud", with_openstack=True)
    yield lab
    lab.remove()
