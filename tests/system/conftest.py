"""The whole lab with openeni, cleaned before each test that uses it.

`OPENENI_TEST_LAB=<name>` keeps that lab for the next run: for work on a test.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import pytest

from openeni_lab.product import workloads
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.progress import LogProgress
from openeni_testing.helm import Helm
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.installed_lab import Kill
from openeni_testing.lab.other_cni import OtherCNI
from openeni_testing.lab.shared_lab import SharedLab

HERE: Final = Path(__file__).parent
FAILED: Final = pytest.StashKey[bool]()  # whether the test that is running has failed
SHARED: Final = pytest.StashKey[SharedLab]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests so that those that share a lab follow each other: it is created once."""
    places = [n for n, item in enumerate(items) if item.path.is_relative_to(HERE)]
    here = [items[n] for n in places]
    here.sort(key=lambda item: "installed" not in getattr(item, "fixturenames", ()))
    for place, item in zip(places, here, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def shared_lab(pytestconfig: pytest.Config) -> Iterator[SharedLab]:
    lab = pytestconfig.stash[SHARED] = SharedLab(os.environ.get("OPENENI_TEST_LAB", ""))
    yield lab
    lab.end()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Take the shared lab down once the next test needs none: it has memory and processor time."""
    used, needed = ("shared_lab" in getattr(it, "fixturenames", ()) for it in (item, nextitem))
    if used and not needed and SHARED in item.config.stash:
        item.config.stash[SHARED].end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed: objects that it shares with others are not trusted any more."""
    report = yield
    before = report.when != "setup" and item.config.stash.get(FAILED, False)
    item.config.stash[FAILED] = before or report.failed
    return report


@pytest.fixture
def installed(shared_lab: SharedLab, pytestconfig: pytest.Config) -> Iterator[InstalledLab]:
    """Yield the lab. Objects of the test are removed; an unexpected exit fails the test."""
    with shared_lab.test() as installed:
        yield installed
        if pytestconfig.stash.get(FAILED, False):
            shared_lab.kept.clear()


@pytest.fixture
def shared(shared_lab: SharedLab) -> set[str]:
    """Return names of objects to keep for other tests: removing a pool takes its cool-down."""
    return shared_lab.kept


@pytest.fixture
def deployed(installed: InstalledLab, shared: set[str]) -> InstalledLab:
    """Deploy a pool, a Deployment over both nodes and its Service."""
    shared.update((lab.VETH, lab.WEB))
    installed.api.apply([workloads.pool(lab.VETH), workloads.service(lab.WEB)])
    lab.deploy(installed, lab.WEB, lab.VETH, lab.REPLICAS)
    return installed


@pytest.fixture
def other_cni(installed: InstalledLab) -> Iterator[OtherCNI]:
    """Yield another CNI plugin, which is on no node before and after the test."""
    other = OtherCNI(installed.nodes)
    yield other
    other.remove()


@pytest.fixture
def no_other_lab(shared_lab: SharedLab) -> None:
    """Take the shared lab down for a test that makes a lab of its own."""
    shared_lab.make_way()


@pytest.fixture
def kill(installed: InstalledLab, shared_lab: SharedLab) -> Kill:
    """Return a function that kills a component (`lab.kill`) and marks its exit as expected."""

    def kill_it(component: str, node: str = "") -> None:
        shared_lab.expected_exits.add(lab.kill(installed, component, node))

    return kill_it


@pytest.fixture
def helm(installed: InstalledLab, shared_lab: SharedLab, tmp_path: Path) -> Iterator[Helm]:
    """Yield Helm; afterwards openeni is installed as before, for the next test."""
    yield Helm(installed.helm, installed.lab.layout.kubeconfig, tmp_path)
    with shared_lab.removed_on_failure():
        # A hook that failed is left for its log, until the next one.
        installed.api.delete(lab.UNINSTALL_JOB, {"propagationPolicy": "Foreground"})
        installed.reload(LogProgress())
