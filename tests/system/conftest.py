"""The whole lab with openeni in it, clean at the begin of each test that uses it.

`OPENENI_TEST_LAB=<name>` keeps that lab for the next run: for work on a test.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from openeni_lab.product import workloads
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.installed_lab import Kill
from openeni_testing.lab.shared_lab import SharedLab

HERE = Path(__file__).parent
FAILED = pytest.StashKey[bool]()  # whether the test that is running has failed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of this folder that share a lab one after the other: it is made once."""
    places = [n for n, item in enumerate(items) if item.path.is_relative_to(HERE)]
    here = [items[n] for n in places]
    here.sort(key=lambda item: "installed" not in getattr(item, "fixturenames", ()))
    for place, item in zip(places, here, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[SharedLab]:
    lab = SharedLab(os.environ.get("OPENENI_TEST_LAB", ""))
    yield lab
    lab.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed: what it shared with others is not trusted any more."""
    report = yield
    before = report.when != "setup" and item.config.stash.get(FAILED, False)
    item.config.stash[FAILED] = before or report.failed
    return report


@pytest.fixture
def installed(shared_lab: SharedLab, pytestconfig: pytest.Config) -> Iterator[InstalledLab]:
    """The lab. What a test makes in it is removed, and a program that ends fails the test."""
    with shared_lab.test() as installed:
        yield installed
        if pytestconfig.stash.get(FAILED, False):
            shared_lab.kept.clear()


@pytest.fixture
def shared(shared_lab: SharedLab) -> set[str]:
    """Names of objects that stay for other tests: a pool with pods takes its cool-down to go."""
    return shared_lab.kept


@pytest.fixture
def deployed(installed: InstalledLab, shared: set[str]) -> InstalledLab:
    """A pool, a Deployment over both nodes and a Service in front of it."""
    shared.update((lab.VETH, lab.WEB))
    installed.api.apply([workloads.pool(lab.VETH), workloads.service(lab.WEB)])
    lab.deploy(installed, lab.WEB, lab.VETH, lab.REPLICAS)
    return installed


@pytest.fixture
def no_other_lab(shared_lab: SharedLab) -> None:
    """For a test that makes a lab of its own."""
    shared_lab.make_way()


@pytest.fixture
def kill(installed: InstalledLab, shared_lab: SharedLab) -> Kill:
    """Kill a component (`lab.kill`): a test that does it on purpose says so by this."""

    def kill_it(component: str, node: str = "n1") -> None:
        end = lab.kill(installed, component, node)
        shared_lab.expected_ends.add(end.id)

    return kill_it
