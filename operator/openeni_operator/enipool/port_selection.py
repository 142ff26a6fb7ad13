"""Decide which settings the ports of a pool get, and which ports are behind. Pure.

What a name or a tag selects may change in the cloud without a change of the pool. Additional groups
are applied; if one that ports have is selected no more, nothing is: whoever removes a tag would
open or close ports without knowing it. A QoS policy is held to the same.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from openeni_crds.conditions import Condition, Reason, Status, Type, condition, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.status.enipool import ResolvedQoSPolicy
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import SecurityGroup
from openeni_operator.enipool.resolution import Resolution

PAUSED: Final = (
    "spec.paused is true: the operator makes no change in the cloud and creates or deletes no ENI; "
    "set it to false to continue"
)
NO_LONGER: Final = "although it has not changed: ports keep their present"


@dataclass(frozen=True)
class PortSelection:
    """The settings that the pool's ports get."""

    groups: tuple[SecurityGroup, ...] = ()
    security_group_terms: str = ""  # digest of the terms and the place that selected them
    tags: tuple[str, ...] = ()
    qos_policy: ResolvedQoSPolicy | None = None
    faults: tuple[Cause, ...] = ()  # for which ports do not get all that the spec asks for
    qos_is_known: bool = True  # if not, ports keep their QoS policies

    @property
    def unsupported(self) -> Cause | None:
        """Return why the cloud cannot give the ports what the pool asks for, if so."""
        return next((fault for fault in self.faults if fault.unsupported), None)

    def spec_of(self, eni: ENI) -> dict[str, Any]:
        """Return the fields of the ENI's spec, by their names there, that follow from this."""
        policy = self.qos_policy.id if self.qos_policy else ""
        return {
            "securityGroupIDs": tuple(group.id for group in self.groups),
            "portTags": self.tags,
            "qosPolicyID": policy if self.qos_is_known else eni.spec.qos_policy_id,
        }

    def changes(self, eni: ENI) -> dict[str, Any]:
        """Return those of `spec_of` that the ENI does not have yet; lists in any order."""
        spec, wanted = eni.spec, self.spec_of(eni)
        same = {
            "securityGroupIDs": set(spec.security_group_ids) == set(wanted["securityGroupIDs"]),
            "portTags": set(spec.port_tags) == set(wanted["portTags"]),
            "qosPolicyID": spec.qos_policy_id == wanted["qosPolicyID"],
        }
        return {field: value for field, value in wanted.items() if not same[field]}


def select_settings(pool: ENIPool, resolution: Resolution) -> PortSelection:
    """Return what applies: what is resolved, or what was, if that would take something away."""
    groups, terms, lost = _select_groups(pool, resolution)
    policy, fault = _select_qos_policy(pool, resolution)
    return PortSelection(
        groups=groups,
        security_group_terms=terms,
        tags=pool.spec.ports.tags,
        qos_policy=policy,
        faults=tuple(cause for cause in (lost, fault) if cause is not None),
        qos_is_known=fault is None,
    )


def _select_groups(
    pool: ENIPool, resolution: Resolution
) -> tuple[tuple[SecurityGroup, ...], str, Cause | None]:
    """Return the groups, the digest of their terms, and the cause if some were lost."""
    terms = _digest(pool, resolution, pool.spec.security_groups)
    before = {group.id for group in pool.status.security_groups}
    lost = tuple(group for group in resolution.kept.groups if group.id in before)
    if terms != pool.status.security_group_terms or not lost:
        return resolution.security_groups, terms, None
    there = {group.id for group in (*resolution.security_groups, *lost)}
    applied = (SecurityGroup(g.id, g.name) for g in pool.status.security_groups)
    names = ", ".join(sorted(group.name or group.id for group in lost))
    cause = Cause(
        Reason.SELECTION_CHANGED,
        f"spec.securityGroups no longer selects {names}, {NO_LONGER} groups, and groups selected "
        "since are not applied either; restore the tag in the cloud, or list the wanted groups in "
        "spec.securityGroups by id",
    )
    return tuple(g for g in applied if g.id in there), terms, cause


def _select_qos_policy(
    pool: ENIPool, resolution: Resolution
) -> tuple[ResolvedQoSPolicy | None, Cause | None]:
    """Return the policy, and the cause for which existing ports keep theirs, if there is one."""
    term, found, before = pool.spec.ports.qos_policy, resolution.qos, pool.status.qos_policy
    if term is None:
        return None, None
    terms, kept = _digest(pool, resolution, term), resolution.kept.qos_policy
    if before is None or kept is None or kept.id != before.id:
        before = None  # it is gone, or selected
    if before is not None and kept is not None and before.terms == terms:
        return before, Cause(
            Reason.SELECTION_CHANGED,
            f"spec.ports.qosPolicy no longer selects policy {kept.id} ({kept.name}), {NO_LONGER} "
            "policy; restore its name in the cloud, or give the wanted policy by id",
        )
    if found is None or isinstance(found, Cause):
        return before, found
    return ResolvedQoSPolicy(found.id, found.name, terms), None


def _digest(pool: ENIPool, resolution: Resolution, terms: object) -> str:
    """Return a digest of what selects: another place has others of the same name."""
    place = (pool.spec.cloud, resolution.place.project_id, resolution.place.region)
    return hashlib.sha256(msgspec.json.encode((place, terms))).hexdigest()[:16]


def is_outdated(pool: ENIPool, eni: ENI, selection: PortSelection) -> bool:
    """Return True if the ENI's spec has other settings; one of another cloud keeps its own."""
    return (
        not eni.metadata.deleting
        and eni.spec.cloud == pool.spec.cloud
        and bool(selection.changes(eni))
    )


def up_to_date(
    pool: ENIPool, selection: PortSelection, present: int, behind: int, failure: Cause | None
) -> Condition:
    """Return the pool's condition UpToDate.

    Of its `present` ENIs so many are `behind`; `failure` is why the first of them that cannot be
    brought up to date is.
    """
    if pool.spec.paused:
        return _false(Reason.PAUSED, PAUSED)
    left = (
        f"{behind} of {present} ports do not yet have what spec.securityGroups and "
        "spec.ports ask for, or their network's MTU"
    )
    causes = [*selection.faults, *([failure] if failure else ())]
    if causes:
        messages = [*([left] if behind else ()), *(cause.message for cause in causes)]
        return _false(causes[0].reason, "; ".join(messages))
    if behind:
        return _false(Reason.UPDATING, left)
    return condition(Type.UP_TO_DATE, Reason.UP_TO_DATE, status=True)


def settings_failure(eni: ENI) -> Cause | None:
    """Return why the ENI's port cannot be given its settings."""
    found = find(eni.status.conditions, Type.UP_TO_DATE)
    failed = found is not None and found.status == Status.FALSE
    if found is not None and failed and found.reason != Reason.UPDATING:
        return Cause(Reason(found.reason), f"{eni.name}: {found.message}")
    return None


def is_behind(eni: ENI) -> bool:
    """Return True if the ENI's port does not have its settings yet."""
    found = find(eni.status.conditions, Type.UP_TO_DATE)
    return found is not None and found.status == Status.FALSE


def _false(reason: Reason, message: str) -> Condition:
    return condition(Type.UP_TO_DATE, reason, message, status=False)
