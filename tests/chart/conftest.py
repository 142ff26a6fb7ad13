"""A real API server with what the chart installs, and what attacks aim at."""

from collections.abc import Iterator

import pytest

from openeni_kube.client import KubeStore
from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_testing.admission.cluster import Cluster
from openeni_testing.admission.target import Target, target
from openeni_testing.helm import Helm
from openeni_testing.lab.api_server import ApiServer


@pytest.fixture(scope="session")
def cluster(
    control_plane: ApiServer, serving_store: KubeStore, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The chart's kinds and rights; a test that asks for `guarded` has its policies, too."""
    documents = chart.render(prepared.read(["helm"]).built.bin("helm"))
    made = Cluster(control_plane, serving_store, documents, tmp_path_factory.mktemp("users"))
    made.install()
    yield made
    made.remove()


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Helm]:
    """The real Helm, and an API server of its own that knows nothing of openeni."""
    server = ApiServer.start(tmp_path_factory.mktemp("lab"))
    program = prepared.read(["helm"]).built.bin("helm")
    yield Helm(program, server.kubeconfig, tmp_path_factory.mktemp("helm"))
    server.remove()


@pytest.fixture
def unguarded(cluster: Cluster) -> Iterator[Target]:
    """Without the policies."""
    cluster.unguard()
    with target(cluster) as made:
        yield made


@pytest.fixture
def guarded(cluster: Cluster) -> Iterator[Target]:
    """With the policies."""
    cluster.guard()
    with target(cluster) as made:
        yield made
