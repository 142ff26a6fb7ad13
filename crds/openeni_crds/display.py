"""Columns, short names and selectable fields of the kinds, for `kubectl`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from openeni_crds.names import ENIPOOLS, ENIS, PODIPS


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`; `wide` ones appear with `-o wide` only."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False


def _ready(part: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{part}'


SHORT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {ENIPOOLS.name: ("enip",)}
SELECTABLE: Final[Mapping[str, tuple[str, ...]]] = {
    ENIS.name: (".spec.nodeName", ".spec.poolName"),
    PODIPS.name: (".spec.nodeName", ".spec.eniName", ".spec.address", ".spec.addressIPv6"),
}
_READY: Final = Column("Ready", _ready("status"))
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")
COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    ENIPOOLS.name: (
        Column("Mode", ".status.datapathMode"),
        Column("Nodes", ".status.nodeCounts.served", "integer"),
        Column("ENIs", ".status.eniCount", "integer"),
        Column("Addresses", ".status.addressCounts.total", "integer"),
        Column("Granted", ".status.addressCounts.granted", "integer"),
        Column("Available", ".status.addressCounts.available", "integer"),
        Column("Cooling", ".status.addressCounts.cooling", "integer"),
        Column("Growth", ".status.growth", wide=True),
        Column("Free", ".status.freeCount", "integer", wide=True),
        _READY,
        Column("Reason", _ready("reason")),
        Column("Message", _ready("message"), wide=True),
        _AGE,
    ),
    ENIS.name: (
        Column("Node", ".spec.nodeName"),
        Column("Pool", ".spec.poolName"),
        Column("State", _ready("reason")),
        Column("Addresses", ".spec.addressCount", "integer"),
        Column("Granted", ".status.node.granted", "integer"),
        Column("MAC", ".status.port.macAddress"),
        Column("Device", ".status.node.device"),
        Column("Port", ".status.port.id", wide=True),
        _READY,
        Column("Message", _ready("message"), wide=True),
        _AGE,
    ),
    PODIPS.name: (
        Column("Address", ".spec['address', 'addressIPv6']"),  # the first that the pod has
        Column("IPv6", ".spec.addressIPv6", wide=True),
        Column("Node", ".spec.nodeName"),
        Column("ENI", ".spec.eniName"),
        Column("Mode", ".spec.datapathMode"),
        Column("Pool", ".spec.poolName", wide=True),
        Column("Pod-UID", ".spec.podUID", wide=True),
        Column("Retention", ".spec.retention", wide=True),
        _READY,
        Column("Message", _ready("message"), wide=True),
        _AGE,
    ),
}
