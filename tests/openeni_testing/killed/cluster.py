"""A cluster around operators that are killed: API server, cloud and agents of this process."""

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

from openeni_crds.capacity import Growth
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIPOOLS, ENIS, LABEL_VETH, NODES, PODS
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.killed.agents import Agents
from openeni_testing.killed.fast_time import FastTime
from openeni_testing.killed.observer import Observer, unsettled
from openeni_testing.killed.services import SUBNETS, FakeServices, Services
from openeni_testing.objects import pool_body
from openeni_testing.store.memory import MemoryStore
from openeni_testing.store.remote import serve
from openeni_testing.waiting import wait_for

POOL: Final = "pods"
ADDRESSES: Final = 3  # of each family, on each ENI
MOST_ENIS: Final = 3  # on each node


class Cluster:
    def __init__(self, cloud: Services, time: FastTime, seed: int, ending: threading.Event) -> None:
        self.cloud, self.seed, self.ending = cloud, seed, ending
        self.store = MemoryStore(now=time.now)
        self.agents = Agents(self.store, time.now)
        self.observer = Observer(self.agents)
        self.servers: dict[str, str] = {}  # by node
        self.pods: dict[str, str] = {}  # the node of each
        self._names = count(1)
        cloud.observe_ports(self.observer.port_changed)

    def create_pool(self, growth: Growth, **spec: Any) -> None:
        """Create a dual-stack pool for all pods."""
        body = pool_body(POOL)
        body["spec"] |= {
            "subnets": [{"name": name} for name, _ in SUBNETS],
            "capacity": {
                "growth": growth,
                "addressesPerENI": ADDRESSES,
                "maxENIsPerNode": MOST_ENIS,
                "minAvailable": 1,
            },
            "reclaim": {"policy": "After", "after": "10s"},
            **spec,
        }
        self.store.create(ENIPOOLS, body)

    def add_node(self) -> str:
        name = f"n{next(self._names)}"
        self.servers[name] = self.cloud.add_server(name)
        self.create_node_object(name)
        return name

    def create_node_object(self, name: str) -> None:
        body: Json = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {LABEL_VETH: "true"}},
            "spec": {"providerID": f"openstack:///{self.servers[name]}"},
            "status": {"allocatable": {"pods": "110"}},
        }
        self.store.create(NODES, body)

    def remove_node(self, name: str, *, with_ports: bool) -> None:
        """Remove a node with its server and its pods; Nova may delete the ports, too."""
        for pod in self.pods_on(name):
            self.end_pod(pod)
        self.cloud.remove_server(self.servers.pop(name), with_ports=with_ports)
        self.store.delete(NODES, name)

    def add_pod(self, node: str) -> str:
        name = f"p{next(self._names)}"
        body: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": node},
        }
        self.store.create(PODS, body)
        self.pods[name] = node
        self.agents.add_pod(name, node)
        return name

    def end_pod(self, name: str) -> None:
        self.agents.end_pod(name)
        del self.pods[name]
        self.store.delete(PODS, name, "default")

    def pods_on(self, node: str) -> list[str]:
        return [pod for pod, its_node in self.pods.items() if its_node == node]

    def delete_eni(self, name: str) -> None:
        """Delete an ENI as an administrator may: whether or not pods have addresses of it."""
        self.store.delete(ENIS, name)

    def set_groups(self, names: list[str]) -> None:
        self.change_pool(securityGroups=[{"name": name} for name in names])

    def change_pool(self, **spec: Any) -> None:
        """Replace fields of the pool's spec."""
        operations = [
            {"op": "add", "path": f"/spec/{field}", "value": value} for field, value in spec.items()
        ]
        self.store.patch(ENIPOOLS, POOL, operations=operations)

    def pause(self, seconds: float) -> None:
        """Let real seconds pass: an operator is killed at random instants."""
        self.ending.wait(seconds)

    def is_called(self) -> bool:
        """Return True if the cloud has had a call since the audit was cleared."""
        return bool(self.cloud.audit.calls)

    def enis(self) -> list[ENI]:
        return [decode(body, ENI) for body in self.store.list(ENIS).items]

    def unsettled(self) -> list[str]:
        """Return what keeps cloud and API server from agreeing, and the pods without an address."""
        found = [f"{pod} on {self.pods[pod]} waits" for pod in self.agents.waiting()]
        return found + unsettled(self.enis(), self.cloud.ports(), self.servers)

    def wait_until_settled(self) -> None:
        """End the pods of ENIs that are being deleted, and wait until everything agrees."""

        def left() -> list[str]:
            deleting = {eni.metadata.uid for eni in self.enis() if eni.metadata.deleting}
            for pod in self.agents.pods_of(deleting):
                self.end_pod(pod)
            return self.unsettled()

        self._wait_for_none(left)

    def wait_until_idle_enis_are_gone(self) -> None:
        """End all pods, and wait until each node has one ENI."""
        for pod in list(self.pods):
            self.end_pod(pod)

        def left() -> list[str]:
            surplus = len(self.enis()) - len(self.servers)
            return self.unsettled() or [f"{surplus} idle ENIs"] * bool(surplus)

        self._wait_for_none(left)

    def wait_until_removed(self) -> None:
        """Delete the pool, and wait until nothing of it is left."""
        self.store.delete(ENIPOOLS, POOL)
        self._wait_for_none(lambda: list(self.store.list(ENIPOOLS).items))
        assert self.enis() == []
        assert self.cloud.ports() == []
        assert not self.observer.problems, "\n".join(self.observer.problems)

    def remove_everything(self) -> None:
        """End the pods and delete the pool, if there is one, and wait until nothing is left."""
        for pod in list(self.pods):
            self.end_pod(pod)
        self.observer.problems.clear()
        self.store.delete(ENIPOOLS, POOL)
        self._wait_for_none(lambda: [*self.store.list(ENIPOOLS).items, *self.cloud.ports()])

    def _wait_for_none(self, left: Callable[[], Sequence[object]]) -> None:
        def nothing_left() -> bool:
            found = left()
            assert not found, "\n".join(map(str, found))
            return True

        wait_for(nothing_left, f"everything agrees (OPENENI_SEED={self.seed})")
        assert not self.observer.problems, "\n".join(self.observer.problems)


@contextmanager
def running_cluster(
    folder: Path, time: FastTime, seed: int, growth: Growth = Growth.STATIC
) -> Generator[Cluster]:
    """Run a cluster with a pool and without nodes, in a fake cloud."""
    with fake_cluster(folder, time, seed) as cluster:
        cluster.create_pool(growth)
        yield cluster


@contextmanager
def fake_cluster(folder: Path, time: FastTime, seed: int) -> Generator[Cluster]:
    """Run an empty cluster in a fake cloud."""
    ending = threading.Event()

    def sleep(seconds: float) -> bool:
        return ending.wait(seconds / time.factor)

    with FakeOpenStack(clock=time.seconds, sleep=sleep, seed=seed) as cloud:
        cluster = Cluster(FakeServices(cloud), time, seed, ending)
        with serving(cluster, folder):
            yield cluster


@contextmanager
def serving(cluster: Cluster, folder: Path) -> Generator[None]:
    """Put the store and the clouds.yaml of operators into the folder, and run the agents."""
    cluster.cloud.write_clouds_yaml(folder / "clouds.yaml")
    serve(cluster.store, folder / "store.sock")
    cluster.agents.start()
    try:
        yield
    finally:
        cluster.store.set_outage(True)
        cluster.agents.stop()
        cluster.ending.set()
