"""Follow the agents' pods: on which nodes one is ready, and since when it is not."""

import threading
from collections import Counter
from collections.abc import Callable

from openeni_crds.meta import Json
from openeni_crds.names import PODS, SELECTOR_AGENTS
from openeni_kube.store import Store, object_key
from openeni_kube.watches.informer import Informer
from openeni_operator.core_objects import is_ready


class AgentPods:
    """Any thread may ask; `put` and `remove` are an informer's handlers."""

    def __init__(
        self, namespace: str, clock: Callable[[], float], on_change: Callable[[str], None]
    ) -> None:
        """Call `on_change` with a node's name whenever its agent may have become ready or not."""
        self._namespace = namespace
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._pods: dict[str, tuple[str, bool]] = {}  # pod -> node, ready
        self._ready: Counter[str] = Counter()  # ready agents by node
        self._unready: dict[str, float] = {}  # node -> time at which its agent was last ready

    def informer(self, store: Store, on_restored: Callable[[], object] = lambda: None) -> Informer:
        """Return the informer that keeps this up to date."""
        return Informer(
            store,
            PODS,
            on_change=self.put,
            on_delete=self.remove,
            on_restored=on_restored,
            label_selector=SELECTOR_AGENTS,
        )

    def silent(self, node: str) -> float | None:
        """Return the seconds since the node's agent was ready, as far as this process has seen.

        0 while it is ready, None if no agent is known on any node.
        """
        with self._lock:
            if not self._pods:
                return None
            if self._ready[node]:
                return 0
            now = self._clock()
            return max(now - self._unready.setdefault(node, now), 0.001)

    def ready_count(self) -> int:
        """Return how many agents are ready."""
        with self._lock:
            return self._ready.total()

    def put(self, body: Json) -> None:
        if body["metadata"].get("namespace") != self._namespace:
            return
        node = body.get("spec", {}).get("nodeName", "")
        self._set(object_key(body), (node, is_ready(body)))

    def remove(self, body: Json) -> None:
        self._set(object_key(body), None)

    def _set(self, key: str, after: tuple[str, bool] | None) -> None:
        with self._lock:
            before = self._pods.pop(key, None)
            if after is not None:
                self._pods[key] = after
            if before == after:
                return
            sides = [side for side in (before, after) if side is not None]
            self._count(before, -1)
            self._count(after, 1)
            for node, _ in sides:
                if self._ready[node]:
                    self._unready.pop(node, None)
                else:
                    self._unready.setdefault(node, self._clock())
        for node, _ in sides:
            if node:
                self._on_change(node)

    def _count(self, pod: tuple[str, bool] | None, more: int) -> None:
        """Count a pod among the ready ones of its node."""
        if pod is not None and pod[1]:
            self._ready[pod[0]] += more
