"""Compare a port with the settings that the pool wants on it. Pure.

Security groups are the pool's alone, and with them port security, without which a port can have
none and its pods may pose as others. A pool without groups leaves port security to the network.

Others may give a port tags or a QoS policy, too: the operator takes off what the pool asked for
before, as `status.applied` records it, and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.status.eni import MOST_APPLIED, MOST_APPLIED_POLICIES, AppliedSettings
from openeni_operator.cloud.api import Port

_GROUPS, _SECURITY = "security groups", "port security"
_IN_FORCE: Final = frozenset({_GROUPS, _SECURITY})


@dataclass(frozen=True)
class PortSettings:
    """What the ENI's spec wants on the port, and what the operator has put there, or may have."""

    security_groups: frozenset[str] = frozenset()  # IDs
    tags: frozenset[str] = frozenset()
    qos_policy: str = ""  # ID; "" for none
    applied_tags: frozenset[str] = frozenset()
    applied_policies: frozenset[str] = frozenset()

    def lacks_security(self, port: Port) -> bool:
        """Return True if somebody has switched port security off."""
        return bool(self.security_groups) and port.port_security is False

    def has_groups(self, port: Port) -> bool:
        """Return True if the port has the security groups, and they are in force."""
        return _IN_FORCE.isdisjoint(self.differences(port))

    def missing_tags(self, port: Port) -> list[str]:
        return sorted(self.tags - port.tags)

    def surplus_tags(self, port: Port) -> list[str]:
        """Return the tags of the port that the pool wants no longer."""
        return sorted((self.applied_tags - self.tags) & port.tags)

    def wanted_policy(self, port: Port) -> str:
        """Return the ID of the QoS policy that the port should have; "" for none."""
        if self.qos_policy or port.qos_policy_id in self.applied_policies:
            return self.qos_policy
        return port.qos_policy_id

    def differences(self, port: Port) -> tuple[str, ...]:
        """Return the settings in which the port is not as it should be, in words."""
        tags_differ = self.missing_tags(port) or self.surplus_tags(port)
        found = {
            _GROUPS: port.security_group_ids != self.security_groups,
            _SECURITY: self.lacks_security(port),
            "tags": bool(tags_differ),
            "QoS policy": port.qos_policy_id != self.wanted_policy(port),
        }
        return tuple(name for name, differs in found.items() if differs)


def settings_of(eni: ENI) -> PortSettings:
    spec, applied = eni.spec, eni.status.applied or AppliedSettings()
    return PortSettings(
        security_groups=frozenset(spec.security_group_ids),
        tags=frozenset(spec.port_tags),
        qos_policy=spec.qos_policy_id,
        applied_tags=frozenset(applied.port_tags),
        applied_policies=frozenset(applied.qos_policy_ids),
    )


def applied_settings(eni: ENI, port: Port | None) -> AppliedSettings | None:
    """Return what `status.applied` should be; None for nothing.

    It has what the spec wants, before the first call for it, and what was recorded before, until
    `port` shows that the port has it no more. With `port` None nothing shows that.
    """
    spec, before = eni.spec, eni.status.applied or AppliedSettings()
    tags = _union(
        spec.port_tags,
        (t for t in before.port_tags if port is None or t in port.tags),
        MOST_APPLIED,
    )
    policies = _union(
        (spec.qos_policy_id,) if spec.qos_policy_id else (),
        (p for p in before.qos_policy_ids if port is None or p == port.qos_policy_id),
        MOST_APPLIED_POLICIES,
    )
    return AppliedSettings(tags, policies) if tags or policies else None


def _union(wanted: Iterable[str], before: Iterable[str], most: int) -> tuple[str, ...]:
    """Return both, sorted; of more than `most`, those that are wanted first."""
    return tuple(sorted(tuple(dict.fromkeys((*wanted, *before)))[:most]))
