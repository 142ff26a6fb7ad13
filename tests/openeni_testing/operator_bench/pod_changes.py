"""Pods that come and go at a steady rate, and what the agents report because of them."""

import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from openeni_crds.names import PODS, eni_name
from openeni_kube.client import KubeStore
from openeni_testing.operator_bench.child import Child
from openeni_testing.operator_bench.objects import (
    ENIS_PER_NODE,
    NAMESPACE,
    POOL,
    node_name,
    pod_body,
)

THREADS: Final = 8
LIFE: Final = 50  # a pod is deleted once so many others have been created after it


class PodChanges:
    """Creates a pod, and deletes an older one, each time that it is called."""

    def __init__(self, store: KubeStore, agents: Child, nodes: int) -> None:
        self._store = store
        self._agents = agents
        self._nodes = nodes
        self._lock = threading.Lock()
        self._events = 0

    @property
    def events(self) -> int:
        """Return the creations and deletions so far."""
        with self._lock:
            return self._events

    def create(self, number: int) -> None:
        self._store.create(PODS, pod_body(number, node_name(number % self._nodes)))
        self._report(number, 1)

    def delete(self, number: int) -> None:
        self._store.delete(PODS, f"pod-{number}", NAMESPACE)
        self._report(number, -1)

    def _report(self, number: int, more: int) -> None:
        """Let the agent of the pod's node report its address as granted, or not any more."""
        index = number // self._nodes % ENIS_PER_NODE
        eni = eni_name(POOL, node_name(number % self._nodes), index)
        self._agents.ask("add pods", counts={eni: more})
        with self._lock:
            self._events += 1


@contextmanager
def changing_pods(
    store: KubeStore, agents: Child, nodes: int, per_second: float
) -> Generator[PodChanges]:
    """Change pods at this rate during the block, which begins once as many go as come."""
    changes = PodChanges(store, agents, nodes)
    steady, ended = threading.Event(), threading.Event()

    def run() -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            number, due = 0, time.monotonic()
            done: list[Future[None]] = []
            while not ended.wait(max(0.0, due - time.monotonic())):
                done.append(threads.submit(changes.create, number))
                if number >= LIFE:
                    done.append(threads.submit(changes.delete, number - LIFE))
                    steady.set()
                number, due = number + 1, due + 2 / per_second
            for each in done:
                each.result()
            list(threads.map(changes.delete, range(max(0, number - LIFE), number)))

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run)
        try:
            steady.wait()
            yield changes
        finally:
            ended.set()
        running.result()
