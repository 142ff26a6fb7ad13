"""`python -m openeni_testing.operator_bench.agents KUBECONFIG`: the agents of all nodes.

Each ENI is reported on as its node's agent would, by the agent's own functions: prepared once it
has a port, linked once it counts as attached and its NIC is on the server, with the counts of the
pods that have its addresses.
"""

import queue
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from openeni_crds.conditions import Reason, Type, condition, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIS, MANAGER_AGENT
from openeni_kube.client import KubeStore, connect
from openeni_kube.store import ConflictError, NotFoundError
from openeni_kube.watches.informer import Informer
from openeni_kube.wire import format_time
from openeni_nodeagent.cluster.facts import is_attached
from openeni_nodeagent.enis.eni_reconciler import waiting_for_attach
from openeni_nodeagent.enis.link_status import ConditionValue, LinkStatus
from openeni_nodeagent.grants.eni_view import GrantCounts, RetireAnswers
from openeni_nodeagent.reports.eni_status import (
    agent_conditions,
    is_shown,
    node_status,
    status_body,
)
from openeni_testing.operator_bench.child import answer_orders
from openeni_testing.operator_bench.objects import pods_on

THREADS: Final = 8
IFINDEX: Final = 3
_CONFIGURED: Final = condition(Type.CNI_CONFIGURED, Reason.CONFIGURED, status=True)
_PREPARED: Final = ConditionValue(ok=True, reason=Reason.PREPARED)
_UP: Final = ConditionValue(ok=True, reason=Reason.LINK_UP)


def report_body(eni: ENI, *, plugged: bool, more_pods: int, now: str) -> Json | None:
    """Return the body of a server-side apply; None if the ENI shows it, or has no port yet.

    An agent looks for the NIC once the ENI counts as attached.
    """
    port = eni.status.port
    if port is None:
        return None
    link = LinkStatus(port.mac_address, guest=_PREPARED)
    counts, idle_since = GrantCounts(), ""
    if not is_attached(eni):
        link = link.with_link(waiting_for_attach(eni))
    elif not plugged:
        message = f"no NIC with the MAC address {port.mac_address}"
        waiting = ConditionValue(ok=False, reason=Reason.WAITING_FOR_NIC, message=message)
        link = link.with_link(waiting)
    else:
        link = link.with_link(_UP, "eth1", IFINDEX)
        granted = min(pods_on(eni.name) + more_pods, len(port.addresses))
        counts = GrantCounts(granted=granted, available=len(port.addresses) - granted)
    if not counts.granted:
        idle_since = (eni.status.node.idle_since if eni.status.node else "") or now
    node = node_status(link, RetireAnswers(eni.metadata.generation), counts, idle_since)
    conditions = agent_conditions(eni, link, _CONFIGURED, now)
    return None if is_shown(eni, node, conditions) else status_body(eni, node, conditions)


class Agents:
    """Watches all ENIs and reports on each that has changed, from a few threads."""

    def __init__(self, store: KubeStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._enis: dict[str, ENI] = {}
        self._of_port: dict[str, str] = {}  # names of ENIs
        self._plugged: set[str] = set()  # IDs of ports
        self._more_pods: dict[str, int] = {}  # by ENI, than at first
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._informer = Informer(store, ENIS, on_change=self._put, on_delete=self._remove)

    def start(self) -> None:
        for _ in range(THREADS):
            threading.Thread(target=self._work, daemon=True).start()
        self._informer.start()
        self._informer.synced.wait()

    def count_ready(self) -> Json:
        with self._lock:
            enis = list(self._enis.values())
        return {"ready": sum(is_true(eni.status.conditions, Type.READY) for eni in enis)}

    def plug(self, ports: Sequence[str]) -> Json:
        """Let the guests see the NICs of these ports."""
        with self._lock:
            self._plugged.update(ports)
            names = [self._of_port[port] for port in ports if port in self._of_port]
        self._enqueue(names)
        return {}

    def add_pods(self, counts: dict[str, int]) -> Json:
        """Let so many more pods, or fewer, have an address of each ENI."""
        with self._lock:
            for name, count in counts.items():
                self._more_pods[name] = self._more_pods.get(name, 0) + count
        self._enqueue(counts)
        return {}

    def _put(self, body: Json) -> None:
        eni = decode(body, ENI)
        with self._lock:
            self._enis[eni.name] = eni
            if eni.status.port is not None:
                self._of_port[eni.status.port.id] = eni.name
        self._queue.put(eni.name)

    def _remove(self, body: Json) -> None:
        with self._lock:
            self._enis.pop(body["metadata"]["name"], None)

    def _enqueue(self, names: Sequence[str] | dict[str, int]) -> None:
        for name in names:
            self._queue.put(name)

    def _work(self) -> None:
        while True:
            name = self._queue.get()
            with self._lock:
                eni = self._enis.get(name)
                plugged = eni is not None and _port_of(eni) in self._plugged
                more = self._more_pods.get(name, 0)
            if eni is None:
                continue
            now = format_time(datetime.now(UTC))
            body = report_body(eni, plugged=plugged, more_pods=more, now=now)
            if body is None:
                continue
            try:
                self._store.apply(ENIS, body, manager=MANAGER_AGENT, subresource="status")
            except (ConflictError, NotFoundError):
                continue  # gone, or another one of that name: its own event follows


def _port_of(eni: ENI) -> str:
    return eni.status.port.id if eni.status.port else ""


def main(kubeconfig: str) -> None:
    agents = Agents(connect(agent=MANAGER_AGENT, connections=THREADS + 1, kubeconfig=kubeconfig))
    agents.start()
    answer_orders(
        {"count ready": agents.count_ready, "plug": agents.plug, "add pods": agents.add_pods}
    )


if __name__ == "__main__":
    main(sys.argv[1])
