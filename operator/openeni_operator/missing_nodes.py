"""Tell for how long a node, or the server that it was, has been missing from the cluster.

A Node may be deleted and created again by its kubelet: what takes something away because of a
missing node waits for `NODE_GRACE_PERIOD`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from openeni_crds.names import NODES
from openeni_kube.store import NotFoundError, Store
from openeni_operator.cluster_state import ClusterState
from openeni_operator.core_objects import Node, parse_node

NODE_GRACE_PERIOD: Final = 60.0  # seconds; a deleted Node may be created again within this time
CONFIRM_SECONDS: Final = 30.0  # between two GETs of a missing node: the cluster state may be stale
FORGET_SECONDS: Final = 3600.0  # of what nobody has asked for


@dataclass
class _Absence:
    since: float
    confirmed: float  # last time
    asked: float  # last time
    arrivals: int  # of the node, before

    def needs_look(self, now: float) -> bool:
        """Return True if the API server is to be asked again: always before it counts as gone."""
        gone, was_gone = (counts_as_gone(at - self.since) for at in (now, self.confirmed))
        return now - self.confirmed >= CONFIRM_SECONDS or (gone and not was_gone)


class MissingNodes:
    """Thread-safe. A restart forgets the ages, so that what is missing is so for longer."""

    def __init__(self, state: ClusterState, store: Store, clock: Callable[[], float]) -> None:
        self._state = state
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._absences: dict[tuple[str, str], _Absence] = {}

    def missing_for(self, node: str, server_id: str = "") -> float | None:
        """Return the seconds since the API server has had no Node of this name; None: it has one.

        With `server_id` it must also be that server. Raises StoreError.
        """
        now, key, arrivals = self._clock(), (node, server_id), self._state.node_arrivals(node)
        if _is_there(self._state.node(node), server_id):
            with self._lock:
                self._absences.pop(key, None)
            return None
        with self._lock:
            known = self._absences.get(key)
            if known is not None and known.arrivals != arrivals:
                del self._absences[key]  # it was back in the meantime
            elif known is not None:
                known.asked = now
                if not known.needs_look(now):
                    return now - known.since
        there = self._confirm(node, server_id)
        with self._lock:
            if there:
                self._absences.pop(key, None)
                return None
            self._forget_old(now)
            absence = self._absences.setdefault(key, _Absence(now, now, now, arrivals))
            absence.confirmed = now
            return now - absence.since

    def _confirm(self, node: str, server_id: str) -> bool:
        try:
            body = self._store.get(NODES, node)
        except NotFoundError:
            return False
        # left to the informer, which may have reported its deletion by now
        return _is_there(parse_node(body), server_id)

    def _forget_old(self, now: float) -> None:
        for key, absence in list(self._absences.items()):
            if now - absence.asked > FORGET_SECONDS:
                del self._absences[key]


def counts_as_gone(missing_for: float | None) -> bool:
    """Return True if a node has been missing for longer than its kubelet takes to be back."""
    return missing_for is not None and missing_for >= NODE_GRACE_PERIOD


def _is_there(node: Node | None, server_id: str) -> bool:
    return node is not None and not (server_id and node.is_other_server(server_id))
