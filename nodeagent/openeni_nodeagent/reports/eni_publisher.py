"""Publish the agent's part of each ENI's status: at most once a second, and only what differs.

Counts change with every pod, and a burst of pods becomes one write. A write that the cache does not
show yet is not repeated.
"""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from openeni_crds.conditions import Condition
from openeni_crds.eni import ENI
from openeni_crds.meta import parse_time
from openeni_crds.names import ENIS, MANAGER_AGENT
from openeni_crds.status.eni import NodeStatus
from openeni_kube.clock import now_text
from openeni_kube.result import Done, RequeueAfter, Result, Retry, requeue
from openeni_kube.store import ConflictError, NotFoundError, Store, StoreError
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.enis.eni_reconciler import ENIReconciler
from openeni_nodeagent.grants.eni_view import GrantCounts, RetireAnswers
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.reports.eni_status import (
    agent_conditions,
    is_shown,
    node_status,
    status_body,
    without_new,
)

WRITE_PERIOD_SECONDS: Final = 1.0
UNOBSERVED_SECONDS: Final = 0.1
CACHE_LAG_SECONDS: Final = 5.0  # the cache may be this far behind a write


class ENIPublisher:
    """A work queue calls `reconcile`, any thread `note_use`."""

    def __init__(
        self,
        store: Store,
        enis: Cache[ENI],
        grants: Grants,
        links: ENIReconciler,
        cni_configured: Callable[[], Condition],
    ) -> None:
        """`cni_configured` returns the node's condition, without generation and time."""
        self._store = store
        self._enis = enis
        self._grants = grants
        self._links = links
        self._cni_configured = cni_configured
        self._lock = threading.Lock()
        self._idle: dict[str, str] = {}  # ENI -> time of its last change of use
        self._written: dict[str, tuple[float, NodeStatus, tuple[Condition, ...]]] = {}

    def note_use(self, eni: str) -> None:
        """Note that a grant was made or ended: its ENI is idle since now at the earliest."""
        with self._lock:
            self._idle[eni] = now_text()

    def reconcile(self, name: str) -> Result:
        """Write the agent's part of one ENI's status if it differs from what the cache shows."""
        eni = self._enis.get(name)
        if eni is None or (eni.status.port is None and eni.status.node is None):
            self._forget(name)
            return Done()
        since_write = time.monotonic() - self._written_at(name)
        if since_write < WRITE_PERIOD_SECONDS:
            return RequeueAfter(WRITE_PERIOD_SECONDS - since_write)
        # Read first: a cool-down that ends before the counts are taken is then looked at again.
        next_cooled = self._grants.next_cooled()
        known = self._grants.acknowledge(name)
        grants = self._grants.of_eni(name)  # also those of a former port
        if known is None and eni.status.port is None:  # the ledger offers nothing of it
            known = RetireAnswers(eni.metadata.generation), GrantCounts(len(grants))
        if known is None:
            return RequeueAfter(UNOBSERVED_SECONDS)
        answers, counts = known
        link = self._links.status_of(name)
        node = node_status(link, answers, counts, "" if grants else self._idle_since(eni))
        conditions = agent_conditions(eni, link, self._cni_configured(), now_text())
        shown = is_shown(eni, node, conditions)
        if not shown and self._repeats(name, node, conditions, since_write):
            return RequeueAfter(CACHE_LAG_SECONDS - since_write)  # somebody else may have undone it
        if not shown:
            failure = self._write(eni, node, conditions)
            if failure is not None:
                return failure
        # What is kept for a pod cools down, too, and is not counted as cooling.
        leaves = eni.metadata.deleting or bool(eni.spec.retiring)
        return requeue(next_cooled if counts.cooling or leaves else None)

    def _write(self, eni: ENI, node: NodeStatus, conditions: tuple[Condition, ...]) -> Retry | None:
        try:
            self._store.apply(
                ENIS,
                status_body(eni, node, conditions),
                manager=MANAGER_AGENT,
                subresource="status",
            )
        except (NotFoundError, ConflictError):
            return None  # gone, or replaced by one of that name: the watch will show it
        except StoreError as error:
            if (
                error.status == HTTPStatus.FORBIDDEN
                and (known := without_new(conditions)) != conditions
            ):
                return self._write(eni, node, known)
            return Retry(f"status of ENI {eni.name} not written: {error}")
        self._written[eni.name] = time.monotonic(), node, conditions
        return None

    def _repeats(
        self, name: str, node: NodeStatus, conditions: tuple[Condition, ...], since_write: float
    ) -> bool:
        """Return True if just this was written, times of conditions aside: the cache is behind."""
        if name not in self._written or since_write > CACHE_LAG_SECONDS:
            return False
        _, before, conditions_before = self._written[name]
        return node == before and _without_times(conditions) == _without_times(conditions_before)

    def _idle_since(self, eni: ENI) -> str:
        with self._lock:
            return self._idle.setdefault(eni.name, _reported_idle(eni) or now_text())

    def _written_at(self, name: str) -> float:
        return self._written[name][0] if name in self._written else float("-inf")

    def _forget(self, name: str) -> None:
        self._written.pop(name, None)
        with self._lock:
            self._idle.pop(name, None)


def _reported_idle(eni: ENI) -> str:
    """Return what a previous process reported; "" if that is not a time."""
    reported = eni.status.node.idle_since if eni.status.node else ""
    try:
        parse_time(reported)
    except ValueError:
        return ""
    return reported


def _without_times(conditions: tuple[Condition, ...]) -> list[tuple[str, str, str, str, int]]:
    return [(c.type, c.status, c.reason, c.message, c.observed_generation) for c in conditions]
