"""Tell the API server the agent's part of each ENI: at most once a second, and only what differs.

Counts change with every pod; a burst of pods is one write. A write that the cache does not show
yet is not repeated.
"""

import threading
import time
from typing import Final

from openeni_crds.conditions import Condition
from openeni_crds.eni import ENI, NodeStatus
from openeni_crds.meta import parse_time
from openeni_crds.names import ENIS, MANAGER_AGENT
from openeni_kube.result import Done, RequeueAfter, Result, Retry, requeue
from openeni_kube.store import ConflictError, NotFoundError, Store, StoreError
from openeni_nodeagent.clock import now_text
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.ledger import Grant
from openeni_nodeagent.links.links import Links
from openeni_nodeagent.reports.eni_status import body, conditions, node_status, shown

PERIOD_SECONDS: Final = 1.0
SOON_SECONDS: Final = 0.1
LAG_SECONDS: Final = 5.0  # how far the cache may be behind a write


class EniStatus:
    """`reconcile` is a work queue's."""

    def __init__(self, store: Store, enis: Cache[ENI], grants: Grants, links: Links) -> None:
        self._store = store
        self._enis = enis
        self._grants = grants
        self._links = links
        self._lock = threading.Lock()
        self._idle: dict[str, str] = {}  # when each ENI's use last changed
        self._written: dict[str, tuple[float, NodeStatus, tuple[Condition, ...]]] = {}

    def used(self, grant: Grant) -> None:
        """A grant of the ENI was made or ended: it is idle from now on at the earliest."""
        with self._lock:
            self._idle[grant.eni] = now_text()

    def reconcile(self, name: str) -> Result:
        """Write the agent's part of one ENI's status if it differs from what the cache holds."""
        eni = self._enis.get(name)
        if eni is None or eni.status.port is None:
            self._forget(name)
            return Done()
        waited = time.monotonic() - self._written_at(name)
        if waited < PERIOD_SECONDS:
            return RequeueAfter(PERIOD_SECONDS - waited)
        rested = self._grants.next_rested()  # first: a rest that ends meanwhile is looked at again
        known = self._grants.acknowledge(name)
        if known is None:
            return RequeueAfter(SOON_SECONDS)
        answers, counts = known
        side = self._links.side(name)
        node = node_status(side, answers, counts, self._idle_since(eni))
        said = conditions(eni, side, now_text())
        if not shown(eni, node, said) and not self._repeats(name, node, said, waited):
            failure = self._write(eni, node, said)
            if failure is not None:
                return failure
        return requeue(rested if counts.cooling else None)

    def _write(self, eni: ENI, node: NodeStatus, said: tuple[Condition, ...]) -> Retry | None:
        try:
            self._store.apply(
                ENIS, body(eni, node, said), manager=MANAGER_AGENT, subresource="status"
            )
        except (NotFoundError, ConflictError):
            return None  # gone, or another one by that name: the watch will tell
        except StoreError as error:
            return Retry(f"status of ENI {eni.name} not written: {error}")
        self._written[eni.name] = time.monotonic(), node, said
        return None

    def _repeats(
        self, name: str, node: NodeStatus, said: tuple[Condition, ...], waited: float
    ) -> bool:
        """Whether the cache is only behind: times of conditions aside, this was just written."""
        if name not in self._written or waited > LAG_SECONDS:
            return False
        _, before, conditions_before = self._written[name]
        return node == before and _timeless(said) == _timeless(conditions_before)

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
    """Return what an earlier process reported; "" where that is no time."""
    reported = eni.status.node.idle_since if eni.status.node else ""
    try:
        parse_time(reported)
    except ValueError:
        return ""
    return reported


def _timeless(said: tuple[Condition, ...]) -> list[tuple[str, str, str, str, int]]:
    return [(c.type, c.status, c.reason, c.message, c.observed_generation) for c in said]
