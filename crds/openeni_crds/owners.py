"""When each condition is True, and which component sets it on which kind.

`make generate` writes docs/conditions.md from this table and those of `reasons`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from openeni_crds.conditions import Type
from openeni_crds.names import ENIPOOLS, ENIS, PODIPS


class Component(StrEnum):
    OPERATOR = "operator"
    AGENT = "agent"


@dataclass(frozen=True)
class Setter:
    """A component that sets conditions on objects of a kind."""

    component: Component
    kind: str


OPERATOR_POOL: Final = Setter(Component.OPERATOR, ENIPOOLS.name)
OPERATOR_ENI: Final = Setter(Component.OPERATOR, ENIS.name)
OPERATOR_PODIP: Final = Setter(Component.OPERATOR, PODIPS.name)
AGENT_ENI: Final = Setter(Component.AGENT, ENIS.name)
AGENT_PODIP: Final = Setter(Component.AGENT, PODIPS.name)


@dataclass(frozen=True)
class ConditionEntry:
    """A condition; it has one owner on each kind."""

    true_when: str
    owners: tuple[Setter, ...]


CONDITIONS: Final[Mapping[Type, ConditionEntry]] = {
    Type.CLOUD_REACHABLE: ConditionEntry(
        "the cloud responds and accepts the credentials", (OPERATOR_POOL,)
    ),
    Type.CREDENTIALS_CURRENT: ConditionEntry(
        "the application credential in `clouds.yaml` does not expire within 30 days; there is no "
        "such condition where Keystone does not tell",
        (OPERATOR_POOL,),
    ),
    Type.SUPPORTED: ConditionEntry(
        "the cloud and the nodes' kernels support what the pool asks for", (OPERATOR_POOL,)
    ),
    Type.CAPACITY_AVAILABLE: ConditionEntry(
        "nothing prevents the pool from holding as many addresses as it needs", (OPERATOR_POOL,)
    ),
    Type.PORTS_OWNED: ConditionEntry(
        "every port of this cluster in the pool's cloud has its ENI; all pools of a cloud report "
        "the same ([orphaned ports](orphans.md))",
        (OPERATOR_POOL,),
    ),
    Type.READY: ConditionEntry(
        "ENI: `PortReady`, `Attached`, `GuestPrepared` and `LinkReady` are True. PodIP: all other "
        "conditions are as they should be. ENIPool: the terms resolve, at "
        "least one node can be served, and not every ENI fails. It stays True when only some nodes "
        "or ENIs fail: look at `Supported` and `CapacityAvailable` too",
        (OPERATOR_POOL, OPERATOR_ENI, AGENT_PODIP),
    ),
    Type.PORT_READY: ConditionEntry("the port exists, with all its addresses", (OPERATOR_ENI,)),
    Type.ATTACHED: ConditionEntry(
        "Nova has attached the port to the node's server, and the port is ACTIVE", (OPERATOR_ENI,)
    ),
    Type.UP_TO_DATE: ConditionEntry(
        "every port in the pool's cloud has what `spec.securityGroups` and `spec.ports` ask for, "
        "and its network's present MTU. It says nothing about other fields, or about whether pods "
        "can be served",
        (OPERATOR_POOL, OPERATOR_ENI),
    ),
    Type.SIZED: ConditionEntry(
        "the port has as many addresses as `spec.addressCount` asks for; only with growth Elastic. "
        "It says nothing about whether pods can be served with those that are there",
        (OPERATOR_ENI,),
    ),
    Type.GUEST_PREPARED: ConditionEntry(
        "the guest's own network tools leave the NIC alone", (AGENT_ENI,)
    ),
    Type.LINK_READY: ConditionEntry(
        "the NIC was found by its MAC address and carries pods", (AGENT_ENI,)
    ),
    Type.GATEWAY_REACHABLE: ConditionEntry(
        "the gateways of the ENI's subnets answer the node, and in mode L3 the network answers for "
        "the addresses of pods; there is no such condition without a gateway, while `LinkReady` is "
        "not True, or while somebody has set a gateway's MAC on the NIC for good (nud permanent): "
        "then nobody is asked. Pods get addresses of the ENI all the same",
        (AGENT_ENI,),
    ),
    Type.CNI_CONFIGURED: ConditionEntry(
        "the node's container runtime starts pods with openeni", (AGENT_ENI,)
    ),
    Type.ASSIGNED: ConditionEntry("the pod's addresses are on the ENI's port", (AGENT_PODIP,)),
    Type.DATAPATH_READY: ConditionEntry("packets of the pod find their way", (AGENT_PODIP,)),
    Type.ADDRESS_LOST: ConditionEntry(
        "Neutron no longer has one of the pod's addresses on the port (True is bad here)",
        (OPERATOR_PODIP,),
    ),
    Type.RETAINED: ConditionEntry(
        "the pod has gone, and its addresses are kept for the next pod of its name: since "
        "`lastTransitionTime`, for `spec.retention` ([sticky addresses](sticky.md))",
        (OPERATOR_PODIP,),
    ),
    Type.PLACED: ConditionEntry(
        "the addresses that a pod asks for, by name or as those it had before, are on an ENI of "
        "its node ([sticky addresses](sticky.md))",
        (OPERATOR_PODIP,),
    ),
}
