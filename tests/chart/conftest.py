"""A real API server with what the chart installs, and what attacks aim at."""

from collections.abc import Iterator

import pytest

from openeni_kube.client import KubeStore
from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_testing.admission.cluster import Cluster
from openeni_testing.admission.target import Target, Targets
from openeni_testing.helm import CRDS, Helm
from openeni_testing.lab.api_server import ApiServer
from openeni_testing.waiting import wait_for


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


@pytest.fixture(scope="module")
def targets(cluster: Cluster) -> Iterator[Targets]:
    """What a module's attacks aim at; other tests of the API server do not meet it."""
    made = Targets(cluster)
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
def serving(helm: Helm) -> Iterator[Helm]:
    """Have the release's namespace in Helm's API server, and for the test the operator's account.

    The account goes again: Helm installs no release over an object that it has not made.
    """
    name = "openeni-operator"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": chart.NAMESPACE}}
    metadata = {"name": name, "namespace": chart.NAMESPACE}
    helm.api.apply(
        [namespace, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}]
    )
    yield helm
    helm.api.delete(f"/api/v1/namespaces/{chart.NAMESPACE}/serviceaccounts/{name}")


@pytest.fixture
def empty(helm: Helm) -> Iterator[Helm]:
    """An API server without a release and without CRDs, before and after."""
    yield helm
    if helm.crds():
        wait_for(helm.serves_kinds, "the kinds are served", 180)
    helm.try_run("uninstall", chart.RELEASE, "--no-hooks")
    for name in helm.crds():
        helm.api.delete(f"{CRDS}/{name}")
    # Where the kind's storage was being replaced, the finalizer's next attempt comes late.
    wait_for(lambda: not helm.crds(), "the CRDs are gone", 400)


@pytest.fixture
def unguarded(cluster: Cluster, targets: Targets) -> Target:
    """Without the policies."""
    cluster.unguard()
    return targets.lend()


@pytest.fixture
def guarded(cluster: Cluster, targets: Targets) -> Target:
    """With the policies."""
    cluster.guard()
    return targets.lend()
