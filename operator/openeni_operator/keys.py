"""Keys of the operator's work queue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_crds.names import Kind
from openeni_kube.result import Result

# No kind of the API: all ports of this cluster in one cloud, by the cloud's name.
ORPHAN_SWEEP: Final = Kind("", "", "", "OrphanSweep", namespaced=False)
# One PodIP that is watched, by its namespace and name.
WATCHED_PODIP: Final = Kind("", "", "", "WatchedPodIP", namespaced=True)


@dataclass(frozen=True, order=True)
class Key:
    """One object by its kind and name; for PodIPs, all those of a node, by the node's name."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.name}/{self.name}"


Reconcile: TypeAlias = Callable[[str], Result]
