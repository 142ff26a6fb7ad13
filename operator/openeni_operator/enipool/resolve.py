"""Look up what an ENIPool names in its cloud; `resolution` checks what is found."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from openeni_crds.enipool import ENIPool, ENIPoolSpec
from openeni_crds.terms import QoSPolicyTerm, SecurityGroupTerm
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import Cloud, QoSPolicy, SecurityGroup
from openeni_operator.cloud.errors import DeniedError, InvalidRequestError, QoSUnsupportedError
from openeni_operator.enipool.resolution import (
    KeptSettings,
    PoolSubnet,
    Resolution,
    ResolutionError,
    check_found,
    check_mtu,
    check_neighbours,
    check_security_groups,
    check_subnets,
    count_free,
    unique,
)
from openeni_operator.shared_reads import NetworkFacts, PortList

_REFUSALS: Final = (DeniedError, InvalidRequestError, QoSUnsupportedError)  # of QoS policies


@dataclass(frozen=True)
class NetworkReads:
    """Reads of a network, by its ID, that other pools and the ENIs share."""

    network: Callable[[str], NetworkFacts]
    ports: Callable[[str], PortList]


def resolve(pool: ENIPool, cloud: Cloud, reads: NetworkReads) -> Resolution | Cause:
    """Look up all that the pool names, and what it named before that is still there.

    Raises a CloudError if the cloud does not respond.
    """
    spec = pool.spec
    try:
        subnets = _find_subnets(spec, cloud)
        groups = unique(_find_security_groups(spec, cloud))
        check_subnets(subnets)
        check_security_groups(groups)
        found = reads.network(subnets[0][1].subnet.network_id)
        check_neighbours(found.subnets.values())
        check_mtu(spec, found.network, [chosen.subnet for _, chosen in subnets])
    except ResolutionError as error:
        return error.cause
    qos = _find_qos_policy(spec, cloud)
    listed = reads.ports(found.network.id)
    return Resolution(
        found.network,
        unique(
            replace(s, free=count_free(s.subnet, listed.numbers.get(s.subnet.id, ())))
            for _, s in subnets
        ),
        groups,
        spec.datapath.mtu or found.network.mtu,
        cloud.place,
        listed.sizes,
        qos,
        KeptSettings(_kept_groups(pool, cloud, groups), _kept_qos_policy(pool, cloud, qos)),
    )


def _find_subnets(spec: ENIPoolSpec, cloud: Cloud) -> list[tuple[str, PoolSubnet]]:
    """Return the subnets, each with the field that selects it."""
    return [
        (field, PoolSubnet(term.zone, subnet, 0))
        for i, term in enumerate(spec.subnets)
        for field in [f"spec.subnets[{i}]"]
        for subnet in check_found(field, "subnet", term, spec.cloud, cloud.find_subnets(term))
    ]


def _find_security_groups(spec: ENIPoolSpec, cloud: Cloud) -> list[SecurityGroup]:
    return [
        group
        for i, term in enumerate(spec.security_groups)
        for group in check_found(
            f"spec.securityGroups[{i}]",
            "security group",
            term,
            spec.cloud,
            cloud.find_security_groups(term),
        )
    ]


def _kept_groups(
    pool: ENIPool, cloud: Cloud, selected: tuple[SecurityGroup, ...]
) -> tuple[SecurityGroup, ...]:
    """Return the applied groups that are not selected and still exist."""
    known = {group.id for group in selected}
    found = (
        cloud.find_security_groups(SecurityGroupTerm(id=group.id))
        for group in pool.status.security_groups
        if group.id not in known
    )
    return tuple(group for groups in found for group in groups)


def _find_qos_policy(spec: ENIPoolSpec, cloud: Cloud) -> QoSPolicy | Cause | None:
    """Return the policy, or the cause: without it the pool serves pods all the same."""
    term = spec.ports.qos_policy
    if term is None:
        return None
    try:
        found = cloud.find_qos_policies(term)
        return check_found("spec.ports.qosPolicy", "QoS policy", term, spec.cloud, found)[0]
    except ResolutionError as error:
        return error.cause
    except _REFUSALS as error:
        return Cause(error.reason, error.message, isinstance(error, QoSUnsupportedError))


def _kept_qos_policy(
    pool: ENIPool, cloud: Cloud, selected: QoSPolicy | Cause | None
) -> QoSPolicy | None:
    """Return the applied policy if it is not selected and still exists."""
    applied, wanted = pool.status.qos_policy, pool.spec.ports.qos_policy
    if applied is None or wanted is None:
        return None
    if isinstance(selected, QoSPolicy) and selected.id == applied.id:
        return None
    with suppress(*_REFUSALS):
        return next(iter(cloud.find_qos_policies(QoSPolicyTerm(id=applied.id))), None)
    return None
