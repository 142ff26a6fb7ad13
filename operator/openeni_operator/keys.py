"""Keys of the operator's work queue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from openeni_crds.names import Kind
from openeni_kube.result import Result


@dataclass(frozen=True, order=True)
class Key:
    """One object by its kind and name; for PodIPs, all those of a node, by the node's name."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.name}/{self.name}"


Reconcile: TypeAlias = Callable[[str], Result]
