"""The agents of all nodes: they report on ENIs, and grant addresses to pods."""

import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIS, MANAGER_AGENT, PODS
from openeni_kube.store import StoreError
from openeni_kube.watches.informer import Informer
from openeni_testing.controller.agent_report import new_report, of_pods, requested_addresses
from openeni_testing.fake_openstack.resources import PortRecord
from openeni_testing.store.memory import MemoryStore

TURN_SECONDS: Final = 0.1  # real ones, until what has failed is tried again


@dataclass(frozen=True)
class Grant:
    """The addresses that a pod has, one of each family of its ENI."""

    pod: str
    addresses: tuple[str, ...]
    eni: str  # UID
    port: str  # ID
    server: str


class Agents:
    """One thread works for all nodes. Whoever holds the cloud's lock may take this one, too."""

    def __init__(self, store: MemoryStore, now: Callable[[], str]) -> None:
        self._store, self._now = store, now
        self._lock = threading.Lock()
        self._enis: dict[str, ENI] = {}  # by name
        self._nics: dict[str, str] = {}  # port -> the server whose guest has it
        self._waiting: dict[str, str] = {}  # pod -> its node
        self._granted: dict[str, Grant] = {}  # by pod
        self._published: set[str] = set()
        self._woken, self._stopping = threading.Event(), threading.Event()
        self._informer = Informer(store, ENIS, on_change=self._put, on_delete=self._remove)
        self._thread = threading.Thread(target=self._run, name="agents", daemon=True)

    def start(self) -> None:
        self._informer.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._informer.stop()
        self._woken.set()
        self._thread.join(60)

    def add_pod(self, pod: str, node: str) -> None:
        with self._lock:
            self._waiting[pod] = node
        self._woken.set()

    def end_pod(self, pod: str) -> None:
        with self._lock:
            self._waiting.pop(pod, None)
            self._granted.pop(pod, None)
            self._published.discard(pod)
        self._woken.set()

    def waiting(self) -> set[str]:
        """Return the pods without an address."""
        with self._lock:
            return set(self._waiting)

    def pods_of(self, uids: Collection[str]) -> list[str]:
        """Return the pods with addresses of these ENIs."""
        with self._lock:
            return [pod for pod, grant in self._granted.items() if grant.eni in uids]

    def is_deleting(self, uid: str) -> bool:
        """Return True if the ENI of that UID is being deleted, as far as the agents know."""
        with self._lock:
            return any(e.metadata.uid == uid and e.metadata.deleting for e in self._enis.values())

    def port_changed(self, before: PortRecord | None, after: PortRecord | None) -> list[str]:
        """Note the NIC of a port, and return what pods have lost by the change."""
        port = after or before
        assert port is not None
        with self._lock:
            server = after.device_id if after else ""
            self._nics[port.id] = server
            addresses = {a.ip for a in after.addresses} if after else set[str]()
            lost = [
                f"{g.addresses} of {g.pod}: {before} -> {after}"
                for g in self._granted.values()
                if g.port == port.id and (g.server != server or not addresses >= set(g.addresses))
            ]
        self._woken.set()
        return lost

    def _put(self, body: Json) -> None:
        with self._lock:
            self._enis[body["metadata"]["name"]] = decode(body, ENI)
        self._woken.set()

    def _remove(self, body: Json) -> None:
        with self._lock:
            self._enis.pop(body["metadata"]["name"], None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait(TURN_SECONDS)
            self._woken.clear()
            for body in self._reports():
                with suppress(StoreError):
                    self._store.apply(ENIS, body, manager=MANAGER_AGENT, subresource="status")
            for grant in self._unpublished():
                with suppress(StoreError):
                    self._publish(grant)

    def _reports(self) -> list[Json]:
        """Grant what can be granted, and return the reports that are due.

        Both at once: what a report calls retired is granted to nobody from then on.
        """
        with self._lock:
            for pod, node in list(self._waiting.items()):
                self._grant(pod, node)
            reports = [
                new_report(
                    eni,
                    self._addresses_in_use(eni.metadata.uid),
                    self._now(),
                    attached=self._has_nic(eni),
                )
                for eni in self._enis.values()
            ]
        return [body for body in reports if body is not None]

    def _grant(self, pod: str, node: str) -> None:
        """Give the pod addresses if its node has some."""
        for eni in self._enis.values():
            port = eni.status.port
            ready = is_true(eni.status.conditions, Type.READY) and self._has_nic(eni)
            if port is None or eni.spec.node_name != node or not ready:
                continue
            taken = {*self._addresses_in_use(eni.metadata.uid), *requested_addresses(eni)}
            free = next(iter(of_pods(eni, but=taken)), None)
            if free:
                del self._waiting[pod]
                self._granted[pod] = Grant(pod, free, eni.metadata.uid, port.id, eni.spec.server_id)
                return

    def _addresses_in_use(self, uid: str) -> list[str]:
        granted = (g for g in self._granted.values() if g.eni == uid)
        return [address for grant in granted for address in grant.addresses]

    def _has_nic(self, eni: ENI) -> bool:
        port = eni.status.port
        return port is not None and self._nics.get(port.id) == eni.spec.server_id

    def _unpublished(self) -> list[Grant]:
        with self._lock:
            return [g for pod, g in self._granted.items() if pod not in self._published]

    def _publish(self, grant: Grant) -> None:
        status = {"phase": "Running", "podIP": grant.addresses[0]}
        change = {"op": "add", "path": "/status", "value": status}
        self._store.patch(PODS, grant.pod, "default", operations=[change], subresource="status")
        with self._lock:
            self._published.add(grant.pod)
