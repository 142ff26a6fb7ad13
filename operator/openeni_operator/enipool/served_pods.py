"""Count a node's waiting pods without those that have an address, and do not show it yet.

A pod stays Pending for a while after its grant, and its address already counts as granted. A pod
with a PodIP is served. If more addresses are granted than PodIPs are published, the difference
belongs to some of the other waiting pods.
"""

from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import PODIPS
from openeni_kube.store import Store
from openeni_operator.shared_reads import SharedRead
from openeni_operator.sizing.state import NodeState

ANSWER_SECONDS: Final = 10.0  # for which a node's PodIPs are not listed again for the same question


class ServedPods:
    """Thread-safe. The PodIPs of a node are not listed again for a question just answered."""

    def __init__(self, store: Store, answers: SharedRead[tuple[object, ...], int]) -> None:
        self._store = store
        self._answers = answers

    def count_waiting(self, node: NodeState, waiting: frozenset[str]) -> int:
        """Return how many of the pods, by their UIDs, need an address. Raises StoreError."""
        granted = tuple((eni.name, eni.granted) for eni in node.enis)
        key = node.name, waiting, granted

        def count() -> int:
            selector = f"spec.nodeName={node.name}"
            return _count(self._store.list(PODIPS, field_selector=selector).items, node, waiting)

        return self._answers.get(key, count)


def _count(podips: tuple[Json, ...], node: NodeState, waiting: frozenset[str]) -> int:
    served = {body["spec"]["podUID"] for body in podips}
    own = {eni.name for eni in node.enis}
    published = sum(body["spec"].get("eniName") in own for body in podips)
    unpublished = max(0, sum(eni.granted for eni in node.enis) - published)
    return max(0, len(waiting - served) - unpublished)
