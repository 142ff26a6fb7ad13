"""Keys of the operator's work queue."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_kube.result import Result

POOLS: Final = "ENIPool"
ENIS: Final = "ENI"
PODIPS: Final = "PodIPs"


@dataclass(frozen=True, order=True)
class Key:
    """A unit of reconciliation: `kind` selects the reconciler, `name` the object.

    PodIPs are reconciled a node at a time, so theirs is the name of a node.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


Reconcile: TypeAlias = Callable[[str], Result]
