"""Look up what an ENIPool names in its cloud; `resolution` checks what is found."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from openeni_crds.enipool import ENIPoolSpec
from openeni_operator.cause import Cause
from openeni_operator.cloud.api import Cloud, Port, SecurityGroup
from openeni_operator.enipool.resolution import (
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

ListPorts: TypeAlias = Callable[[str], tuple[Port, ...]]  # by network ID


def resolve(spec: ENIPoolSpec, cloud: Cloud, list_ports: ListPorts) -> Resolution | Cause:
    """Look up all that the pool names. Raises a CloudError if the cloud does not respond."""
    try:
        subnets = _find_subnets(spec, cloud)
        groups = unique(_find_security_groups(spec, cloud))
        check_subnets(subnets)
        check_security_groups(groups)
        network = cloud.network(subnets[0][1].subnet.network_id)
        check_neighbours(cloud.subnets_of(network.id))
        check_mtu(spec, network, [found.subnet for _, found in subnets])
    except ResolutionError as error:
        return error.cause
    ports = list_ports(network.id)
    return Resolution(
        network,
        unique(replace(found, free=count_free(found.subnet, ports)) for _, found in subnets),
        groups,
        spec.datapath.mtu or network.mtu,
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
