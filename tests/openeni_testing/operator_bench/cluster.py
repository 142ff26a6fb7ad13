"""The benchmark's cluster: a real API server, its nodes, ENIPool and PodIPs."""

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIPOOLS, ENIS, NODES, PODIPS, Kind
from openeni_kube.client import KubeStore, connect
from openeni_testing.lab.api_server import ApiServer
from openeni_testing.objects import install_crds
from openeni_testing.operator_bench.objects import (
    SERVICE_ACCOUNTS,
    node_body,
    podip_bodies,
    pool_body,
    service_account_body,
)
from openeni_testing.operator_bench.usage import processes_naming

NAME: Final = "openeni-bench"
CONNECTIONS: Final = 8


@dataclass(frozen=True)
class Cluster:
    """A cluster without nodes at first."""

    server: ApiServer
    store: KubeStore

    @property
    def kubeconfig(self) -> Path:
        return self.server.kubeconfig

    def processes(self) -> list[int]:
        """Return etcd, the API server, and what forwards connections to it."""
        return processes_naming(self.server.lab.layout.state)

    def add_nodes(self, servers: Sequence[str]) -> None:
        bodies = [node_body(index, server) for index, server in enumerate(servers)]
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(partial(self.store.create, NODES), bodies))

    def add_pool(self) -> None:
        self.store.create(ENIPOOLS, pool_body())

    def add_podips(self) -> int:
        """Create the PodIPs of all ENIs; return how many."""
        enis = [decode(body, ENI) for body in self.store.list(ENIS).items]
        bodies = [body for eni in enis for body in podip_bodies(eni)]
        workers = os.cpu_count() or 1
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
            parts = [bodies[n::workers] for n in range(workers)]
            paths = [str(self.kubeconfig)] * workers
            list(processes.map(_create_all, paths, [PODIPS] * workers, parts))
        return len(bodies)


@contextmanager
def started(folder: Path) -> Generator[Cluster]:
    """Run a cluster with the CRDs during the block."""
    server = ApiServer.start(folder)
    try:
        store = connect(agent=NAME, connections=CONNECTIONS, kubeconfig=str(server.kubeconfig))
        install_crds(store)
        store.create(SERVICE_ACCOUNTS, service_account_body())
        yield Cluster(server, store)
    finally:
        server.remove()


def _create_all(kubeconfig: str, kind: Kind, bodies: Sequence[Json]) -> None:
    """Create objects in a process of its own: one process cannot keep the API server busy."""
    store = connect(agent=NAME, connections=CONNECTIONS, kubeconfig=kubeconfig)
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(partial(store.create, kind), bodies))
