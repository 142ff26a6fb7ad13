"""The API server of the benchmark's node: a real one, or one in memory for a kernel of its own."""

import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from openeni_crds import names
from openeni_crds.meta import Json
from openeni_crds.status.eni import MOST_PODS
from openeni_kube.client import connect
from openeni_kube.store import Store
from openeni_testing.agent import node_objects
from openeni_testing.network.netns import Namespace
from openeni_testing.node_bench.pods.forwarder import Forwarder
from openeni_testing.objects import eni_body, pool_body
from openeni_testing.operator_bench.child import child
from openeni_testing.operator_bench.objects import (
    SERVICE_ACCOUNTS,
    pod_body,
    service_account_body,
)
from openeni_testing.store.remote import RemoteStore

POOL: Final = "pods"
FIRST_ENI: Final = 16  # below are the MACs of the test network's bridges
_PROCESS: Final = "openeni_testing.node_bench.pods"


@dataclass(frozen=True)
class Cluster:
    """An API server, and how an agent is run that talks to it."""

    store: Store
    agent: Sequence[str]  # module and arguments
    environment: Mapping[str, str]
    set_outage: Callable[[bool], None]  # for the agent


@contextmanager
def in_memory(folder: Path) -> Generator[Cluster]:
    socket = folder / "store.sock"
    with child(f"{_PROCESS}.store_process", str(socket)) as process:

        def set_outage(outage: bool) -> None:
            process.ask("set outage", outage=outage)

        agent = (f"{_PROCESS}.agent_process", str(socket))
        yield Cluster(RemoteStore(socket), agent, {}, set_outage)


@contextmanager
def reached_by(node: Namespace, kubeconfig: Path, folder: Path) -> Generator[Cluster]:
    """Let a namespace reach the API server on this machine's loopback.

    `folder` gets the agent's kubeconfig.
    """
    agents = Path(shutil.copy(kubeconfig, folder))
    clusters: list[Any] = yaml.safe_load(kubeconfig.read_text())["clusters"]
    server: str = clusters[0]["cluster"]["server"]
    port = urlsplit(server).port
    assert port is not None
    forwarder = Forwarder(node, port)
    try:
        yield Cluster(
            connect(agent="openeni-bench", kubeconfig=str(kubeconfig)),
            ("openeni_nodeagent",),
            {"KUBECONFIG": str(agents)},
            lambda outage: forwarder.set_down(down=outage),
        )
    finally:
        forwarder.close()


def create_objects(store: Store, datapath: Json, enis: int) -> None:
    """Create a node with so many attached ENIs, full of addresses, of one pool."""
    store.create(SERVICE_ACCOUNTS, service_account_body())
    node_objects.make_node(store)
    pool = pool_body(POOL)
    pool["spec"] |= {"datapath": datapath, "podSelector": {}, "coolDown": "30s"}
    store.create(names.ENIPOOLS, pool)
    for number in range(FIRST_ENI, FIRST_ENI + enis):
        body = eni_body(eni_name(number), node=node_objects.NODE)
        body["metadata"]["finalizers"] = [names.FINALIZER_ENI]
        body["spec"] |= {"datapath": datapath, "addressCount": MOST_PODS}
        store.create(names.ENIS, body)
        node_objects.write_operator_status(store, eni_name(number), count=MOST_PODS, number=number)


def create_pods(store: Store, count: int) -> list[Json]:
    """Create pods that are bound to the node; return them."""
    return [store.create(names.PODS, pod_body(n, node_objects.NODE)) for n in range(count)]


def eni_name(number: int) -> str:
    return f"{POOL}-{number}"
