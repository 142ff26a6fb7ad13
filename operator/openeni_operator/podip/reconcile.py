"""Reconcile the PodIPs of one node, or of all nodes: list them, plan, release or report."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from openeni_crds.conditions import Condition
from openeni_crds.meta import Json, decode, encode
from openeni_crds.names import ENIS, FINALIZER_PODIP, PODIPS
from openeni_crds.podip import PodIP
from openeni_kube.events import Recorder
from openeni_kube.result import RequeueAfter, Result, Retry, requeue
from openeni_kube.store import ConflictError, NotFoundError, Store, StoreError
from openeni_operator.cluster_state import ClusterState
from openeni_operator.missing_nodes import NODE_GRACE_PERIOD, MissingNodes
from openeni_operator.objects.finalizers import remove_finalizer
from openeni_operator.objects.invalid_objects import log_invalid
from openeni_operator.objects.status_writer import write_status
from openeni_operator.podip.plan import (
    PodIPAction,
    RemovePodIPFinalizer,
    SetAddressLost,
    matters_whether_eni_is_gone,
    own_conditions,
    plan_podip,
)
from openeni_operator.process.transitions import record_transitions

ALL_NODES: Final = "*"  # not a valid node name
FAILURES_SHOWN: Final = 3  # of one pass, in the log


@dataclass(frozen=True)
class PodIPDependencies:
    """Clients and caches of the PodIP controller."""

    state: ClusterState
    store: Store
    missing_nodes: MissingNodes
    recorder: Recorder
    review: Callable[[str], None]  # enqueues a node's name
    now: Callable[[], str]  # RFC 3339, UTC, whole seconds
    stopping: Callable[[], bool] = lambda: False  # the process ends


class PodIPReconciler:
    """Called by the work queue with a node's name, or with ALL_NODES at each resync.

    PodIPs are read and reviewed page by page: there may be more than fit in memory, or than can be
    read before a stopping process must end.
    """

    def __init__(self, deps: PodIPDependencies) -> None:
        self._deps = deps

    def __call__(self, node: str) -> Result:
        selector = "" if node == ALL_NODES else f"spec.nodeName={node}"
        failures: list[str] = []
        missing: dict[str, float] = {}  # nodes that do not count as gone yet, and for how long
        try:
            for page in self._deps.store.pages(PODIPS, field_selector=selector):
                if self._deps.stopping():
                    return RequeueAfter(0, "the operator is stopping")
                missing |= self._review_page(page, failures)
        except StoreError as error:
            return Retry(str(error))
        if node == ALL_NODES:
            for name in missing:
                self._deps.review(name)
        if failures:
            return Retry("; ".join(failures))
        return requeue(missing.get(node))

    def _review_page(self, page: Iterable[Json], failures: list[str]) -> dict[str, float]:
        """Return the nodes that do not count as gone yet, and for how many seconds not."""
        missing: dict[str, float] = {}
        for podip in _decode_valid(page):
            left = self._grace_left(podip.spec.node_name)
            if left:
                missing[podip.spec.node_name] = left
            else:
                self._review(podip, failures, node_gone=left == 0)
        return missing

    def _grace_left(self, node: str) -> float | None:
        """Return the seconds until the node counts as gone; None: it is there."""
        missing = self._deps.missing_nodes.missing_for(node)
        return None if missing is None else max(0.0, NODE_GRACE_PERIOD - missing)

    def _review(self, podip: PodIP, failures: list[str], *, node_gone: bool) -> None:
        eni = self._deps.state.eni(podip.spec.eni_name)
        try:
            eni_gone = eni is None and not node_gone and self._is_eni_gone(podip)
            action = plan_podip(podip, eni, node_gone=node_gone, eni_gone=eni_gone)
            if action is not None:
                self._execute(action)
        except StoreError as error:  # of this PodIP; the others are not its hostages
            if len(failures) < FAILURES_SHOWN:
                failures.append(f"PodIP {podip.namespace}/{podip.name}: {error}")

    def _is_eni_gone(self, podip: PodIP) -> bool:
        """Return True if it matters that the PodIP's ENI, which is not cached, does not exist."""
        if not matters_whether_eni_is_gone(podip):
            return False
        try:
            self._deps.store.get(ENIS, podip.spec.eni_name)
        except NotFoundError:
            return True
        return False  # the cache is behind, or it does not fit its schema

    def _execute(self, action: PodIPAction) -> None:
        match action:
            case RemovePodIPFinalizer(podip):
                # It may have moved to another node since it was listed.
                same = {"op": "test", "path": "/spec/nodeName", "value": podip.spec.node_name}
                meta = podip.metadata
                remove_finalizer(self._deps.store, PODIPS, meta, FINALIZER_PODIP, (same,))
            case SetAddressLost(podip, lost):
                self._write_condition(podip, lost)

    def _write_condition(self, podip: PodIP, lost: Condition) -> None:
        conditions = own_conditions(podip, (lost,), self._deps.now())
        status = {"conditions": [encode(c) for c in conditions or ()]}
        deps, meta = self._deps, podip.metadata
        try:
            # A watched one may have moved to another ENI since it was listed.
            write_status(deps.store, deps.state, PODIPS, meta, status, exactly=True)
        except NotFoundError:
            return
        except ConflictError:
            deps.review(podip.spec.node_name)  # another pod's by now, or its agent wrote
            return
        before = podip.status.conditions
        record_transitions(self._deps.recorder, PODIPS, podip.metadata, before, (lost,))


def _decode_valid(bodies: Iterable[Json]) -> Iterator[PodIP]:
    """Yield the valid PodIPs; log an invalid one, which must not stop the others."""
    for body in bodies:
        try:
            yield decode(body, PodIP)
        except msgspec.ValidationError as error:
            log_invalid(PODIPS, body, error)
