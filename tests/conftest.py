"""Fixtures for several folders of tests, and the grouping of tests for parallel runs."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import coverage
import hypothesis
import pytest

from openeni_kube.client import KubeStore, connect
from openeni_lab.machine import enclosure
from openeni_testing.lab.api_server import ApiServer
from openeni_testing.objects import install_crds, remove_objects
from openeni_testing.plugins import reason_coverage, share
from openeni_testing.suite import is_collected_in_guest

# A slow or busy machine must not fail a property.
hypothesis.settings.register_profile("suite", deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "check", hypothesis.settings.get_profile("suite"), max_examples=25
)
hypothesis.settings.load_profile("suite")

# A shell has its background jobs ignore Ctrl-C, and so would each program that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No lab outlives the process of its tests: after Ctrl-C, xdist kills a worker that takes long to
# clean up. A lab that is to stay for the next run (tests/system) has no owner.
if not os.environ.get("OPENENI_TEST_LAB"):
    os.environ[enclosure.OWNER] = str(os.getpid())

TESTS: Final = Path(__file__).parent
LONG_SECONDS: Final = 900  # for a test that starts a lab or waits for one, or has many cases
# What is expensive to make, the slowest first: tests that share it stay on one worker.
SHARED: Final = ("lab", "cloud")
# Of whole clusters, which take a third of the processor time of all tests that need no root.
SIMULATED: Final = ("operator/elastic/", "operator/simulated/", "sticky/")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        reason_coverage.OPTION,
        action="store_true",
        help="fail unless the tests have each reason of a condition set; for the whole suite",
    )
    parser.addoption(share.OPTION, metavar="K/N", help="run one of N shares of the tests")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption(reason_coverage.OPTION):
        config.pluginmanager.register(reason_coverage.ReasonCoverage())
    if written := config.getoption(share.OPTION):
        config.pluginmanager.register(share.Share.parse(written))


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, group those that share something, start the slowest first."""
    for item in items:
        if item.get_closest_marker("ipvlan") and not is_collected_in_guest(item.path):
            raise pytest.UsageError(f"{item.nodeid}: no part of the suite looks for ipvlan here")
        if str(item.path.relative_to(TESTS)).startswith(SIMULATED):
            item.add_marker(pytest.mark.simulated)
        shares = any(map(item.get_closest_marker, ("root", "cluster", *SHARED)))
        if shares and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(_group(item)))
        takes_long = shares or item.get_closest_marker("exhaustive")
        if takes_long and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS))
    items.sort(key=_place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure no coverage of a simulation: tracing takes half of its processor time.

    Other tests run the same lines.
    """
    measured = coverage.Coverage.current()
    if measured is None or not item.get_closest_marker("simulated"):
        return (yield)
    measured.stop()
    try:
        return (yield)
    finally:
        measured.start()


def _group(item: pytest.Item) -> str:
    """Return the first marker of something shared, or else the test's module."""
    for marker in SHARED:
        if item.get_closest_marker(marker):
            return marker
    return str(item.path.relative_to(TESTS))


def _place(item: pytest.Item) -> int:
    """Return when to run a test: long tests at the end would be waited for by idle workers."""
    markers = (*SHARED, "cluster", "root")
    found = (n for n, marker in enumerate(markers) if item.get_closest_marker(marker))
    return next(found, len(markers))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Yield an API server that a test may stop if it starts it again."""
    server = ApiServer.start(tmp_path_factory.mktemp("lab"))
    yield server
    server.remove()


@pytest.fixture(scope="session")
def api_server(control_plane: ApiServer) -> Path:
    """Return the kubeconfig of a real API server without our CRDs."""
    return control_plane.kubeconfig


@pytest.fixture(scope="session")
def serving_store(api_server: Path) -> KubeStore:
    """Return a store on a real API server that serves our kinds."""
    store = connect(agent="openeni-tests", kubeconfig=str(api_server))
    install_crds(store)
    return store


@pytest.fixture
def real_store(serving_store: KubeStore) -> Iterator[KubeStore]:
    """Yield the same store for one test, and remove the test's objects."""
    yield serving_store
    remove_objects(serving_store)
