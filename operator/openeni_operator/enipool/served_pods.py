"""Count a node's waiting pods without those that have an address, and do not show it yet.

A pod stays Pending for a while after its grant, and its address already counts as granted. A pod
with a PodIP is served. If more addresses are granted than PodIPs are published, the difference
belongs to some of the other waiting pods.

The PodIPs of a node are listed seldom: the API server goes over those of all nodes for each list.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import PODIPS
from openeni_kube.store import NotFoundError, Store
from openeni_operator.sizing.state import ENIState, NodeState

LOOK_SECONDS: Final = 10.0  # between two lists of a node's PodIPs, and of what is known of a pod
# PodIPs that are read one by one before all of the node are listed. Where there are 50,000, a list
# costs the API server as much as 50 of them, see decision 0058.
MOST_READ: Final = 20


@dataclass(frozen=True)
class WaitingCount:
    """How many of a node's pods need an address."""

    least: int
    again: float = 0.0  # seconds until PodIPs are listed again, which may show more; 0: it is exact


@dataclass(frozen=True)
class Look:
    """The PodIPs of a node as they were listed."""

    at: float  # monotonic seconds
    served: frozenset[str]  # UIDs of pods
    published: Mapping[str, int]  # PodIPs by ENI


class ServedPods:
    """Thread-safe, but for one pool on one node."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        """`clock` returns monotonic seconds."""
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._looks: dict[tuple[str, str], Look] = {}  # by pool and node
        self._found: dict[str, float] = {}  # UIDs of pods -> when their PodIP was read

    def count_waiting(self, pool: str, node: NodeState, pods: Mapping[str, str]) -> WaitingCount:
        """Return how many of the pods need an address; `pods` are namespace/name by UID.

        Raises StoreError.
        """
        now, key = self._clock(), (pool, node.name)
        look = self._looks.get(key)
        if look is not None and now - look.at < LOOK_SECONDS:
            least = count_least(look, node.enis, pods.keys())
            return WaitingCount(least, look.at + LOOK_SECONDS - now)
        if self._are_served(pods, look.served if look else frozenset(), now):
            return WaitingCount(0)
        listed = self._store.list(PODIPS, field_selector=f"spec.nodeName={node.name}").items
        look = look_of(listed, now)
        with self._lock:
            self._looks[key] = look
        self._forget_old(now)
        return WaitingCount(count_exactly(look, node.enis, pods.keys()))

    def _are_served(self, pods: Mapping[str, str], before: AbstractSet[str], now: float) -> bool:
        """Return True if each pod has a PodIP: read them until one is missing, if they are few.

        Those that were not served `before` come first.
        """
        unknown = [uid for uid in pods if now - self._found.get(uid, -LOOK_SECONDS) >= LOOK_SECONDS]
        if len(unknown) > MOST_READ:
            return False
        served = all(
            self._is_served(uid, pods[uid], now)
            for uid in sorted(unknown, key=lambda uid: (uid in before, uid))
        )
        if unknown:
            self._forget_old(now)
        return served

    def _is_served(self, uid: str, pod: str, now: float) -> bool:
        namespace, _, name = pod.partition("/")
        try:
            podip = self._store.get(PODIPS, name, namespace)
        except NotFoundError:
            return False
        if podip["spec"]["podUID"] != uid:
            return False  # of an earlier pod of that name
        with self._lock:
            self._found[uid] = now
        return True

    def _forget_old(self, now: float) -> None:
        """Forget what was seen too long ago to be of use."""
        oldest = now - 2 * LOOK_SECONDS
        with self._lock:
            self._looks = {key: look for key, look in self._looks.items() if look.at > oldest}
            self._found = {uid: at for uid, at in self._found.items() if at > oldest}


def look_of(podips: Iterable[Json], now: float) -> Look:
    """Return what a list of a node's PodIPs shows."""
    specs = [body["spec"] for body in podips]
    published = Counter(spec.get("eniName", "") for spec in specs)
    return Look(now, frozenset(spec["podUID"] for spec in specs), published)


def count_exactly(look: Look, enis: Iterable[ENIState], pods: AbstractSet[str]) -> int:
    """Return how many of the pods need an address, by PodIPs that were listed just now."""
    unpublished = (max(0, eni.granted - look.published.get(eni.name, 0)) for eni in enis)
    return max(0, len(pods - look.served) - sum(unpublished))


def count_least(look: Look, enis: Iterable[ENIState], pods: AbstractSet[str]) -> int:
    """Return how many of the pods need an address for certain, some seconds after a look.

    Each grant since then may be one of theirs. Grants that have ended since hide as many of those,
    and their addresses cool down: for longer (30 s, by the API) than a look is kept.
    """
    taken = ((eni, eni.granted + eni.cooling) for eni in enis)
    since = (max(0, count - look.published.get(eni.name, 0)) for eni, count in taken)
    return max(0, len(pods - look.served) - sum(since))
