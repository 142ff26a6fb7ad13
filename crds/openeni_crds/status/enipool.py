"""The status of an ENIPool: what the operator last observed. Numbers are for people."""

from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.capacity import Growth
from openeni_crds.conditions import MOST_CONDITIONS, Condition
from openeni_crds.datapath_mode import DatapathMode
from openeni_crds.meta import Count, Generation, Id

MOST_RESOLVED = 64


class NodeCounts(Struct, frozen=True, rename="camel"):
    """Nodes of the pool, counted."""

    selected: Annotated[
        Count,
        Meta(description="Nodes that spec.nodeSelector matches and that are OpenStack servers."),
    ] = 0
    served: Annotated[
        Count,
        Meta(
            description="Selected nodes with an agent, the datapath and a subnet for their zone. "
            "While the cloud does not answer, zones are not checked."
        ),
    ] = 0
    without_agent: Annotated[
        Count, Meta(description="Selected nodes whose openeni agent has not reported yet.")
    ] = 0
    without_datapath: Annotated[
        Count, Meta(description="Selected nodes whose kernel lacks the pool's datapath.")
    ] = 0
    without_subnet: Annotated[
        Count, Meta(description="Selected nodes for whose zone spec.subnets has no subnet.")
    ] = 0
    at_limit: Annotated[
        Count,
        Meta(
            description="Served nodes where pods wait and spec.capacity allows no more addresses."
        ),
    ] = 0


class AddressCounts(Struct, frozen=True, rename="camel"):
    """Addresses of all ENIs of the pool, counted in pods: one of each IP family is one."""

    total: Annotated[
        Count, Meta(description="Addresses for pods on the ENIs' ports, retiring ones included.")
    ] = 0
    granted: Annotated[Count, Meta(description="Addresses that pods have.")] = 0
    available: Annotated[
        Count, Meta(description="Addresses free for the next pods, on Ready ENIs.")
    ] = 0
    cooling: Annotated[Count, Meta(description="Addresses that cool down after their pod.")] = 0


class ResolvedSubnet(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A subnet that spec.subnets resolves to."""

    id: Annotated[Id, Meta(description="The subnet's id in Neutron.")]
    name: Annotated[str, Meta(max_length=255, description="The subnet's name in Neutron.")]
    network_id: Annotated[Id, Meta(description="Id of the subnet's network.")] = field(
        name="networkID"
    )
    cidr: Annotated[
        str,
        Meta(max_length=64, description="The subnet's range of addresses, such as 10.98.0.0/22."),
    ]
    free_count: Annotated[
        Count,
        Meta(
            description="Upper bound of the subnet's free addresses: ports of other projects are "
            "not seen. Counted when spec.subnets is looked up, every five minutes by default."
        ),
    ]
    address_count: Annotated[
        Count, Meta(description="Addresses in the subnet's allocation pools.")
    ] = 0
    zone: Annotated[
        str, Meta(max_length=63, description="Zone that spec.subnets limits the subnet to.")
    ] = ""


class ResolvedSecurityGroup(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A security group that spec.securityGroups resolves to."""

    id: Annotated[Id, Meta(description="The security group's id in Neutron.")]
    name: Annotated[str, Meta(max_length=255, description="The security group's name in Neutron.")]


class ResolvedQoSPolicy(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The QoS policy that spec.ports.qosPolicy resolves to."""

    id: Annotated[Id, Meta(description="The QoS policy's id in Neutron.")]
    name: Annotated[str, Meta(max_length=255, description="The QoS policy's name in Neutron.")]
    terms: Annotated[
        str,
        Meta(
            max_length=64,
            description="Digest of the term and the place that selected it; for the operator's own "
            "use.",
        ),
    ] = ""


class ENIPoolStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The observed state; written by the operator."""

    conditions: Annotated[
        tuple[Condition, ...],
        Meta(
            max_length=MOST_CONDITIONS,
            description="Ready, CloudReachable, Supported, CapacityAvailable, UpToDate and "
            "PortsOwned; CredentialsCurrent where Keystone tells.",
        ),
    ] = ()
    node_counts: NodeCounts = NodeCounts()
    eni_count: Annotated[Count, Meta(description="ENIs of the pool, on all nodes.")] = field(
        name="eniCount", default=0
    )
    address_counts: AddressCounts = AddressCounts()
    free_count: Annotated[
        Count,
        Meta(
            description="Upper bound of the free addresses in all subnets of the pool, in the "
            "scarcer IP family: ports of other projects are not seen. Counted when spec.subnets is "
            "looked up, every five minutes by default."
        ),
    ] = 0
    datapath_mode: Annotated[
        DatapathMode | None,
        Meta(description="The pool's datapath in one word: its mode and ipvlan.mode."),
    ] = None
    subnets: Annotated[
        tuple[ResolvedSubnet, ...],
        Meta(
            max_length=MOST_RESOLVED,
            description="The first 64 subnets that spec.subnets resolves to, in its order.",
        ),
    ] = ()
    security_groups: Annotated[
        tuple[ResolvedSecurityGroup, ...],
        Meta(
            max_length=MOST_RESOLVED,
            description="Security groups that the pool's ports get: what spec.securityGroups "
            "selects, or, with SelectionChanged, what it selected before.",
        ),
    ] = ()
    security_group_terms: Annotated[
        str,
        Meta(
            max_length=64,
            description="Digest of the terms and the place that selected status.securityGroups; "
            "for the operator's own use.",
        ),
    ] = ""
    qos_policy: Annotated[
        ResolvedQoSPolicy | None,
        Meta(
            description="QoS policy that the pool's ports get: what spec.ports.qosPolicy selects, "
            "or, while it selects nothing or another one by itself, what it selected before."
        ),
    ] = None
    growth: Annotated[
        Growth | None,
        Meta(
            description="How nodes get addresses now, Static or Elastic: spec.capacity.growth, as "
            "far as the cloud allows it, which is asked again every hour, or every ten minutes "
            "after a no."
        ),
    ] = None
    observed_generation: Annotated[
        Generation, Meta(description="The metadata.generation that this status describes.")
    ] = 0
