"""Keys of the operator's work queue: which kind of object is reconciled, and which one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from openeni_kube.result import Result

POOLS: Final = "ENIPool"
ENIS: Final = "ENI"
PODIPS: Final = "PodIPs"


@dataclass(frozen=True, order=True)
class Key:
    """`kind` is one of the words above, `name` one of its objects (of PodIPs: their node)."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


Reconcile: TypeAlias = Callable[[str], Result]
