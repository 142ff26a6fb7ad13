"""Which part is given to which: the operator without its shell, so that tests can run it too."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from openeni_crds.names import ENIPOOLS, ENIS, PODIPS, Kind
from openeni_kube.store import Store
from openeni_kube.workers import Workers
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.eni.observe import World as ENIWorld
from openeni_operator.eni.reconcile import ENIReconciler
from openeni_operator.enipool.reconcile import PoolReconciler
from openeni_operator.enipool.reconcile import World as PoolWorld
from openeni_operator.enipool.resolver import Resolver
from openeni_operator.feed import everything, keys_of
from openeni_operator.keys import Key, Reconcile
from openeni_operator.mirror import Mirror
from openeni_operator.podip.reconcile import PodIPReconciler
from openeni_operator.podip.reconcile import World as PodIPWorld
from openeni_operator.ports import PortLists
from openeni_operator.resync import Resync
from openeni_operator.settings import Settings

GATHER_SECONDS: Final = 0.1  # for events of one key to gather before it is worked on


@dataclass(frozen=True)
class Operator:
    """Everything that runs beside kopf."""

    mirror: Mirror
    resync: Resync
    workers: Workers[Key]

    def start(self) -> None:
        """Begin to work. Raises StoreError when the first lists cannot be had."""
        self.resync.fill()
        for key in everything(self.mirror):
            self.workers.add(key)
        self.workers.start()
        self.resync.start()

    def stop(self, grace: float) -> None:
        """End; reconciles get `grace` seconds."""
        self.resync.stop()
        self.workers.stop(grace)


def assemble(settings: Settings, store: Store, clouds: Clouds, cluster_id: str) -> Operator:
    """Put the operator together; nothing runs yet."""

    def add(keys: Iterable[Key]) -> None:
        for key in keys:
            workers.add(key, GATHER_SECONDS)

    mirror = Mirror(lambda change: add(keys_of(change, mirror)))
    age = settings.resync / 2  # so that every resync sees lists made for it
    ports = PortLists(age, time.monotonic)

    def lost(node: str) -> None:
        add([Key(PODIPS, node)])

    enis = ENIWorld(mirror, store, clouds.get, cluster_id, ports, time.monotonic, now, lost)
    resolver = Resolver(clouds.get, ports, age, time.monotonic)
    reconcilers: dict[Kind, Reconcile] = {
        ENIPOOLS: PoolReconciler(PoolWorld(mirror, store, resolver, now)),
        ENIS: ENIReconciler(enis),
        PODIPS: PodIPReconciler(PodIPWorld(mirror, store, now)),
    }
    workers: Workers[Key] = Workers(
        "worker", lambda key: reconcilers[key.kind](key.name), threads=settings.workers
    )
    resync = Resync(store, mirror, settings.resync, lambda: add(everything(mirror)))
    return Operator(mirror, resync, workers)


def now() -> str:
    """The time as metav1.Time prints it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
