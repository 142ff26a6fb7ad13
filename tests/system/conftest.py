"""The whole lab with openeni in it, clean at the begin of each test that uses it.

`OPENENI_TEST_LAB=<name>` keeps that lab for the next run: for work on a test.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from openeni_lab.product import workloads
from openeni_lab.product.demonstration import Running
from openeni_testing.lab import running as running_lab
from openeni_testing.lab.one_lab import OneLab
from openeni_testing.lab.running import Kill

HERE = Path(__file__).parent
FAILED = pytest.StashKey[bool]()  # whether the test that is running has failed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of this folder that share a lab one after the other: it is made once."""
    places = [n for n, item in enumerate(items) if item.path.is_relative_to(HERE)]
    here = [items[n] for n in places]
    here.sort(key=lambda item: "running" not in getattr(item, "fixturenames", ()))
    for place, item in zip(places, here, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def one_lab() -> Iterator[OneLab]:
    lab = OneLab(os.environ.get("OPENENI_TEST_LAB", ""))
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
def running(one_lab: OneLab, pytestconfig: pytest.Config) -> Iterator[Running]:
    """The lab. What a test makes in it is removed, and a program that ends fails the test."""
    with one_lab.test() as running:
        yield running
        if pytestconfig.stash.get(FAILED, False):
            one_lab.kept.clear()


@pytest.fixture
def shared(one_lab: OneLab) -> set[str]:
    """Names of objects that stay for other tests: a pool with pods takes its cool-down to go."""
    return one_lab.kept


@pytest.fixture
def deployed(running: Running, shared: set[str]) -> Running:
    """A pool, a Deployment over both nodes and a Service in front of it."""
    shared.update((running_lab.VETH, running_lab.WEB))
    running.api.apply([workloads.pool(running_lab.VETH), workloads.service(running_lab.WEB)])
    running_lab.deploy(running, running_lab.WEB, running_lab.VETH, running_lab.REPLICAS)
    return running


@pytest.fixture
def no_other_lab(one_lab: OneLab) -> None:
    """For a test that makes a lab of its own."""
    one_lab.make_way()


@pytest.fixture
def kill(running: Running, one_lab: OneLab) -> Kill:
    """Kill a component (`running_lab.kill`): a test that does it on purpose says so by this."""

    def kill_it(component: str, node: str = "n1") -> None:
        end = running_lab.kill(running, component, node)
        one_lab.expected_ends.add(end.id)

    return kill_it
