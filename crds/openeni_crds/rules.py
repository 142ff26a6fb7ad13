"""What the CRDs say beyond types: cross-field rules and immutables in CEL, list types, columns.

Kept apart from the models so that these read as plain values, and all rules can be reviewed in one
place. Keys are `Struct`, `Struct.field` (JSON's name) or `Struct.field[]` for the items of a list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from openeni_crds.names import ENI, ENIPOOL, PODIP


@dataclass(frozen=True)
class Rule:
    """One CEL rule (`x-kubernetes-validations`); `field` is where its error is reported."""

    rule: str
    message: str
    field: str = ""
    reason: Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"] = (
        "FieldValueInvalid"
    )


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`; `wide` ones appear with `-o wide` only."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"
    wide: bool = False


def _immutable(field: str) -> tuple[Rule, ...]:
    return (Rule("self == oldSelf", f"{field} is immutable", reason="FieldValueForbidden"),)


def _between(low: str, high: str) -> tuple[Rule, ...]:
    rule = f"duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"
    return (Rule(rule, f"must be between {low} and {high}"),)


_IP: Final = (
    Rule(
        "isIP(self) && ip.isCanonical(self)",
        "must be an IP address in its canonical form, such as 10.98.0.5 or fd00::5",
    ),
)
_CIDR: Final = (Rule("isCIDR(self)", "must be a CIDR, such as 10.98.0.0/22"),)
_ONE_A_FAMILY: Final = Rule(
    "self.size() < 2 || !self.all(a, isIP(a)) || ip(self[0]).family() != ip(self[1]).family()",
    "two addresses must be one of IPv4 and one of IPv6",
)

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "LabelSelector.matchLabels": (
        Rule(
            "self.all(key, !format.qualifiedName().validate(key).hasValue())",
            "every key must be a label key, such as example.com/name",
        ),
        Rule(
            "self.all(key, !format.labelValue().validate(self[key]).hasValue())",
            "every value must be a label value",
        ),
    ),
    "Requirement.key": (
        Rule(
            "!format.qualifiedName().validate(self).hasValue()",
            "must be a label key, such as example.com/name",
        ),
    ),
    "Requirement": (
        Rule(
            "!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)",
            "values are required with operators In and NotIn",
            ".values",
            "FieldValueRequired",
        ),
        Rule(
            "self.operator in ['In', 'NotIn'] || !has(self.values) || self.values.size() == 0",
            "values are forbidden with operators Exists and DoesNotExist",
            ".values",
            "FieldValueForbidden",
        ),
    ),
    "ENIPool": (
        Rule(
            "self.spec.datapath == oldSelf.spec.datapath"
            " || !has(self.status) || !has(self.status.enis) || self.status.enis == 0",
            "datapath is immutable while an ENI of the pool exists; make another pool",
            ".spec.datapath",
            "FieldValueForbidden",
        ),
    ),
    "ENIPoolSpec.subnets": (
        Rule(
            "self.all(a, self.exists_one(b, a.subnet == b.subnet"
            " && has(a.zone) == has(b.zone) && (!has(a.zone) || a.zone == b.zone)))",
            "subnets must be unique: each one once for each zone",
        ),
    ),
    "ENIPoolSpec.coolDown": _between("30s", "1h"),
    "Datapath": (
        Rule(
            "self.mode != 'IPVlan' || has(self.ipvlanMode)",
            "ipvlanMode is required with mode IPVlan: L3S, L2 or L3",
            ".ipvlanMode",
            "FieldValueRequired",
        ),
        Rule(
            "self.mode == 'IPVlan' || !has(self.ipvlanMode)",
            "ipvlanMode is forbidden with mode Veth",
            ".ipvlanMode",
            "FieldValueForbidden",
        ),
    ),
    "Capacity": (
        Rule(
            "(self.addressesPerENI + 1) * self.maxENIsPerNode <= 128",
            "(addressesPerENI + 1) x maxENIsPerNode must be at most 128",
            ".maxENIsPerNode",
        ),
        Rule(
            "!has(self.maxAvailable) || self.minAvailable <= self.maxAvailable",
            "maxAvailable must be at least minAvailable",
            ".maxAvailable",
        ),
    ),
    "Reclaim": (
        Rule(
            "self.policy != 'After' || has(self.after)",
            "after is required with policy After, such as 15m",
            ".after",
            "FieldValueRequired",
        ),
        Rule(
            "self.policy == 'After' || !has(self.after)",
            "after is forbidden with policy Never",
            ".after",
            "FieldValueForbidden",
        ),
    ),
    "Reclaim.after": _between("10s", "720h"),
    "ResolvedSubnet.cidr": _CIDR,
    "ENISpec.pool": _immutable("pool"),
    "ENISpec.nodeName": _immutable("nodeName"),
    "ENISpec.serverID": _immutable("serverID"),
    "ENISpec.cloud": _immutable("cloud"),
    "ENISpec.network": _immutable("network"),
    "ENISpec.subnets": _immutable("subnets"),
    "ENISpec.securityGroups": _immutable("securityGroups"),
    "ENISpec.datapath": _immutable("datapath"),
    "ENISpec.mtu": _immutable("mtu"),
    "ENISpec.retiring[]": _IP,
    "PortSubnet.cidr": _CIDR,
    "PortSubnet.gateway": _IP,
    "PortStatus.primary[]": _IP,
    "PortStatus.addresses[]": _IP,
    "AddressAt.address": _IP,
    "PodIPSpec.podUID": _immutable("podUID"),
    "PodIPSpec.nodeName": _immutable("nodeName"),
    "PodIPSpec.addresses": (_ONE_A_FAMILY,),
    "PodIPSpec.addresses[]": _IP,
    "PodIPSpec.retention": (
        Rule(
            "self in ['Delete', 'Forever'] || duration(self) <= duration('8760h')",
            "must be Delete, Forever or a duration of at most 8760h",
        ),
    ),
    "PodIPStatus.gateway": _IP,
}

# Lists are atomic (one owner, replaced whole) but for these.
LIST_MAPS: Final[Mapping[str, tuple[str, ...]]] = {
    "ENIPoolStatus.conditions": ("type",),
    "ENIStatus.conditions": ("type",),
    "PodIPStatus.conditions": ("type",),
}
LIST_SETS: Final = frozenset(
    {
        "ENIPoolSpec.securityGroups",
        "ENISpec.subnets",
        "ENISpec.securityGroups",
        "ENISpec.retiring",
        "PortStatus.primary",
        "PortStatus.addresses",
        "PodIPSpec.addresses",
    }
)

# What the API server may hold a name to: a pool's is part of its ENIs' names.
NAME_LENGTHS: Final[Mapping[str, int]] = {ENIPOOL.name: 40, ENI.name: 63}
SHORT_NAMES: Final[Mapping[str, tuple[str, ...]]] = {ENIPOOL.name: ("enip",)}
SELECTABLE: Final[Mapping[str, tuple[str, ...]]] = {
    ENI.name: (".spec.nodeName", ".spec.pool"),
    PODIP.name: (".spec.nodeName",),
}

_READY: Final = Column("Ready", '.status.conditions[?(@.type=="Ready")].status')
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date")
COLUMNS: Final[Mapping[str, tuple[Column, ...]]] = {
    ENIPOOL.name: (
        Column("Mode", ".status.mode"),
        Column("Growth", ".status.growth"),
        Column("Nodes", ".status.nodes", "integer"),
        Column("ENIs", ".status.enis", "integer"),
        Column("Addresses", ".status.addresses.total", "integer"),
        Column("Granted", ".status.addresses.granted", "integer"),
        Column("Available", ".status.addresses.available", "integer"),
        _READY,
        _AGE,
    ),
    ENI.name: (
        Column("Node", ".spec.nodeName"),
        Column("Pool", ".spec.pool"),
        Column("State", ".status.state"),
        Column("Addresses", ".spec.addresses", "integer"),
        Column("Granted", ".status.node.granted", "integer"),
        Column("MAC", ".status.port.macAddress"),
        Column("Device", ".status.node.device"),
        Column("Port", ".status.port.id", wide=True),
        _READY,
        _AGE,
    ),
    PODIP.name: (
        Column("Address", ".spec.addresses[0]"),
        Column("Node", ".spec.nodeName"),
        Column("ENI", ".spec.eni"),
        Column("Mode", ".spec.mode"),
        Column("Pod-UID", ".spec.podUID", wide=True),
        _READY,
        _AGE,
    ),
}
