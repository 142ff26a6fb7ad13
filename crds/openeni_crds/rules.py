"""Rules of the CRDs beyond types: cross-field rules and immutable fields in CEL, list types.

Kept apart from the models so that these read as plain values, and all rules can be reviewed in one
place. Keys are `Struct`, `Struct.field` (JSON's name) or `Struct.field[]` for the items of a list.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from openeni_crds.names import ENIPOOLS, ENIS, TAG_PREFIX


@dataclass(frozen=True)
class Rule:
    """One CEL rule (`x-kubernetes-validations`); `field` is where its error is reported."""

    rule: str
    message: str
    field: str = ""
    reason: Literal["FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"] = (
        "FieldValueInvalid"
    )


def _immutable(field: str, way_out: str) -> tuple[Rule, ...]:
    message = f"{field} is immutable; {way_out}"
    return (Rule("self == oldSelf", message, reason="FieldValueForbidden"),)


def _duration(low: str, high: str, example: str) -> tuple[Rule, ...]:
    """Return one rule with one message; a schema pattern beside it would add CEL's own error."""
    rule = (
        # In 32 characters no sum of these overflows a duration, whose error would be CEL's own.
        "self.matches('^([0-9]{1,4}h|[0-9]{1,6}m|[0-9]{1,7}s)+$')"
        f" && duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"
    )
    return (
        Rule(rule, f"must be a duration such as {example}, from {low} to {high} (units: h, m, s)"),
    )


def _term(what: str, *keys: str) -> tuple[Rule, ...]:
    given = ", ".join(f"has(self.{key})" for key in keys)
    named = f"{', '.join(keys[:-1])} and {keys[-1]}"
    return (
        Rule(
            f"[{given}].exists_one(given, given)",
            f"give exactly one of {named}, such as {{name: {what}}}",
        ),
    )


_IP: Final = (
    Rule(
        "isIP(self) && ip.isCanonical(self)",
        "must be an IP address in its canonical form, such as 10.98.0.5 or fd00::5",
    ),
)
_TAG: Final = (
    # In Neutron's query a comma separates two tags.
    Rule("!self.contains(',')", "must be a Neutron tag without a comma"),
)
_PORT_TAG: Final = (
    # It is a part of a URL's path: a slash would end it, clients resolve dots, and Neutron stores
    # the bytes of the path as Latin-1 (measured; PEP 3333's PATH_INFO).
    Rule(
        r"self.matches('^[!-+\\-.0-~]+( [!-+\\-.0-~]+)*$') && !(self in ['.', '..'])",
        "must be words in ASCII without a comma or a slash, such as cost-center=7",
    ),
    Rule(
        f"!self.startsWith('{TAG_PREFIX}')",
        f"must not begin with {TAG_PREFIX}: such tags tell whose port it is",
        reason="FieldValueForbidden",
    ),
)
_CIDR: Final = (Rule("isCIDR(self)", "must be a CIDR, such as 10.98.0.0/22"),)
_ENI_MADE_ONCE: Final = "the operator makes another ENI when one is needed"
_PODIP_MADE_ONCE: Final = "the node's agent makes another PodIP for another grant"

RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "LabelSelector.matchLabels": (
        Rule(
            "self.all(key, !format.qualifiedName().validate(key).hasValue())",
            "every key must be a label key, such as example.com/name",
        ),
        Rule(
            "self.all(key, !format.labelValue().validate(self[key]).hasValue())",
            "every value must be a label value: up to 63 letters, digits, '-', '_' and '.'",
        ),
    ),
    "Requirement.key": (
        Rule(
            "!format.qualifiedName().validate(self).hasValue()",
            "must be a label key, such as example.com/name",
        ),
    ),
    "Requirement.values[]": (
        Rule(
            "!format.labelValue().validate(self).hasValue()",
            "must be a label value: up to 63 letters, digits, '-', '_' and '.'",
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
    "SubnetTerm.tags[]": _TAG,
    "SubnetTerm.zone": (
        Rule(
            "!format.labelValue().validate(self).hasValue() && self.size() > 0",
            "must be a value of the label topology.kubernetes.io/zone, such as az1",
        ),
    ),
    "SecurityGroupTerm.tags[]": _TAG,
    "SubnetTerm": _term("pods", "id", "name", "tags"),
    "SecurityGroupTerm": _term("pods", "id", "name", "tags"),
    "QoSPolicyTerm": _term("pods", "id", "name"),
    "Ports.tags[]": _PORT_TAG,
    "ENIPoolSpec.subnets": (
        Rule(
            "self.all(a, self.exists_one(b, a == b))",
            "subnets must be unique: each one once for each zone",
        ),
    ),
    "ENIPoolSpec.securityGroups": (
        Rule("self.all(a, self.exists_one(b, a == b))", "securityGroups must be unique"),
    ),
    "ENIPoolSpec": (
        Rule(
            "self.datapath.metadataService != 'Allow'"
            " || self.?namespaceSelector.?matchLabels.orValue({}).size() > 0",
            "namespaceSelector with matchLabels is required with datapath.metadataService Allow: "
            "it names the namespaces whose pods may read the node's user data",
            ".namespaceSelector",
            "FieldValueRequired",
        ),
    ),
    "ENIPoolSpec.datapath": _immutable("datapath", "create another pool"),
    "ENIPoolSpec.coolDown": _duration("30s", "1h", "130s or 5m"),
    "Datapath": (
        Rule(
            "self.mode != 'IPVlan' || has(self.ipvlan)",
            "ipvlan is required with mode IPVlan, such as {mode: L3S}",
            ".ipvlan",
            "FieldValueRequired",
        ),
        Rule(
            "self.mode == 'IPVlan' || !has(self.ipvlan)",
            "ipvlan is forbidden with mode Veth",
            ".ipvlan",
            "FieldValueForbidden",
        ),
    ),
    "Capacity": (
        Rule(
            "(self.addressesPerENI + 1) * self.maxENIsPerNode <= 128",
            "(addressesPerENI + 1) x maxENIsPerNode must be at most 128, so that one node cannot "
            "take a whole subnet: lower one of them",
            ".maxENIsPerNode",
        ),
        Rule(
            "!has(self.maxAvailable) || self.minAvailable <= self.maxAvailable",
            "maxAvailable must be at least minAvailable (2 if not given): raise it, or lower "
            "minAvailable",
            ".maxAvailable",
        ),
    ),
    "Reclaim.after": _duration("10s", "720h", "15m or 1h30m"),
    "ResolvedSubnet.cidr": _CIDR,
    "ENISpec.poolName": _immutable("poolName", _ENI_MADE_ONCE),
    "ENISpec.nodeName": _immutable("nodeName", _ENI_MADE_ONCE),
    "ENISpec.serverID": _immutable("serverID", _ENI_MADE_ONCE),
    "ENISpec.cloud": _immutable("cloud", _ENI_MADE_ONCE),
    "ENISpec.networkID": _immutable("networkID", _ENI_MADE_ONCE),
    "ENISpec.subnetIDs": (
        *_immutable("subnetIDs", _ENI_MADE_ONCE),
        Rule("self.all(a, self.exists_one(b, a == b))", "subnetIDs must be unique"),
    ),
    "ENISpec.datapath": _immutable("datapath", _ENI_MADE_ONCE),
    "ENISpec.mtu": _immutable("mtu", _ENI_MADE_ONCE),
    "ENISpec.retiring[]": _IP,
    "ENISpec.portTags[]": _PORT_TAG,
    "PortSubnet.cidr": _CIDR,
    "PortSubnet.gateway": _IP,
    "PortStatus.primary[]": _IP,
    "PortStatus.addresses[]": _IP,
    "PortStatus.releasing[]": _IP,
    "RetireAnswer.address": _IP,
    "PodIPSpec": (
        Rule(
            "has(self.address) || has(self.addressIPv6)",
            "a PodIP has an address, an addressIPv6 or both",
            ".address",
            "FieldValueRequired",
        ),
        Rule(
            "has(self.address) == has(oldSelf.address)"
            " && has(self.addressIPv6) == has(oldSelf.addressIPv6)",
            f"address and addressIPv6 are immutable; {_PODIP_MADE_ONCE}",
            ".address",
            "FieldValueForbidden",
        ),
        Rule(
            "self.nodeName == oldSelf.nodeName ||"
            " (self.retention != 'Delete' && !has(self.eniName))",
            "nodeName changes only where the PodIP outlives its pod and has no eniName",
            ".nodeName",
            "FieldValueForbidden",
        ),
        Rule(
            "!has(self.eniName) || !has(oldSelf.eniName) || self.eniName == oldSelf.eniName",
            f"eniName is set and removed, but not replaced; {_PODIP_MADE_ONCE}",
            ".eniName",
            "FieldValueForbidden",
        ),
    ),
    "PodIPSpec.podUID": _immutable("podUID", _PODIP_MADE_ONCE),
    "PodIPSpec.retention": (
        *_immutable("retention", _PODIP_MADE_ONCE),
        Rule(
            "self in ['Delete', 'Forever'] ||"
            " self.matches('^([0-9]{1,4}h|[0-9]{1,6}m|[0-9]{1,7}s)+$')",
            "must be Delete, Forever or a duration such as 1h (units: h, m, s)",
        ),
    ),
    "PodIPSpec.poolName": _immutable("poolName", _PODIP_MADE_ONCE),
    "PodIPSpec.datapathMode": _immutable("datapathMode", _PODIP_MADE_ONCE),
    "PodIPSpec.address": (
        Rule("isIP(self) && ip(self).family() == 4", "must be an IPv4 address, such as 10.98.0.5"),
        *_immutable("address", _PODIP_MADE_ONCE),
    ),
    "PodIPSpec.addressIPv6": (
        Rule(
            "isIP(self) && ip(self).family() == 6 && ip.isCanonical(self)",
            "must be an IPv6 address in its canonical form, such as fd00::5",
        ),
        *_immutable("addressIPv6", _PODIP_MADE_ONCE),
    ),
    "PodIPStatus.gateway": _IP,
}

# Fields that every writer gives, though the models have a default: as in metav1.Condition.
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {"Condition": ("lastTransitionTime", "message")}

# Lists are atomic (one owner, replaced whole) but for these.
LIST_MAPS: Final[Mapping[str, tuple[str, ...]]] = {
    "ENIPoolStatus.conditions": ("type",),
    "ENIStatus.conditions": ("type",),
    "PodIPStatus.conditions": ("type",),
}
LIST_SETS: Final = frozenset(
    {
        "SubnetTerm.tags",
        "SecurityGroupTerm.tags",
        "Ports.tags",
        "ENISpec.securityGroupIDs",
        "ENISpec.portTags",
        "ENISpec.retiring",
        "PortStatus.primary",
        "PortStatus.addresses",
        "PortStatus.releasing",
    }
)

# What the API server may hold a name to: a pool's is part of its ENIs' names and of their labels.
NAME_LENGTHS: Final[Mapping[str, int]] = {ENIPOOLS.name: 40, ENIS.name: 63}
