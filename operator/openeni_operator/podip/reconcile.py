"""Reconcile the PodIPs of one node, or of all nodes: list them, plan, release or report."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from openeni_crds.conditions import Condition, merge
from openeni_crds.meta import Json, decode, encode
from openeni_crds.names import FINALIZER_PODIP, NODES, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.result import Done, Result, Retry
from openeni_kube.store import NotFoundError, Store, StoreError
from openeni_operator.cluster_state import ClusterState
from openeni_operator.finalizers import remove_finalizer
from openeni_operator.invalid_objects import log_invalid
from openeni_operator.podip.plan import (
    PodIPAction,
    RemovePodIPFinalizer,
    SetAddressLost,
    plan_podips,
)
from openeni_operator.status_writer import write_status

ALL_NODES: Final = "*"  # not a valid node name
FAILURES_SHOWN: Final = 3  # of one pass, in the log


@dataclass(frozen=True)
class PodIPDependencies:
    """Clients and caches of the PodIP controller."""

    state: ClusterState
    store: Store
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds


class PodIPReconciler:
    """Called by the work queue with a node's name, or with ALL_NODES at each resync."""

    def __init__(self, deps: PodIPDependencies) -> None:
        self._deps = deps

    def __call__(self, node: str) -> Result:
        try:
            return self._reconcile(node)
        except StoreError as error:
            return Retry(str(error))

    def _reconcile(self, node: str) -> Result:
        selector = "" if node == ALL_NODES else f"spec.nodeName={node}"
        listed = self._deps.store.list(PODIPS, field_selector=selector).items
        podips = list(_decode_valid(listed))
        gone = frozenset(n for n in {p.spec.node_name for p in podips} if self._is_gone(n))
        enis = {eni.name: eni for eni in self._deps.state.enis()}
        failures: list[str] = []
        for action in plan_podips(podips, gone, enis):
            try:
                self._execute(action)
            except StoreError as error:  # of this PodIP; the others are not its hostages
                podip = action.podip
                failures.append(f"PodIP {podip.namespace}/{podip.name}: {error}")
        return Retry("; ".join(failures[:FAILURES_SHOWN])) if failures else Done()

    def _execute(self, action: PodIPAction) -> None:
        match action:
            case RemovePodIPFinalizer(podip):
                remove_finalizer(self._deps.store, PODIPS, podip.metadata, FINALIZER_PODIP)
            case SetAddressLost(podip, lost):
                self._write_condition(podip, lost)

    def _is_gone(self, node: str) -> bool:
        """Confirm with a GET: the cache may be stale, and removing a finalizer is final."""
        if self._deps.state.node(node) is not None:
            return False
        try:
            self._deps.store.get(NODES, node)
        except NotFoundError:
            return True
        return False

    def _write_condition(self, podip: PodIP, lost: Condition) -> None:
        conditions = merge(podip.status.conditions, (lost,), self._deps.now())
        status = {"conditions": [encode(c) for c in conditions]}
        try:
            write_status(self._deps.store, self._deps.state, PODIPS, podip.metadata, status)
        except NotFoundError:
            return


def _decode_valid(bodies: Iterable[Json]) -> Iterator[PodIP]:
    """Yield the valid PodIPs; log an invalid one, which must not stop the others."""
    for body in bodies:
        try:
            yield decode(body, PodIP)
        except msgspec.ValidationError as error:
            log_invalid(PODIPS, body, error)
