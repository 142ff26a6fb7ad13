"""The status of an ENIPool: what the operator last observed. Numbers are for people."""

from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.conditions import MOST_CONDITIONS, Condition
from openeni_crds.meta import Count, Generation, Id

MOST_RESOLVED = 64


class NodeCounts(Struct, frozen=True, rename="camel"):
    """Nodes that the pool selects and that are servers of OpenStack."""

    selected: Annotated[Count, Meta(description="All of them.")] = 0
    served: Annotated[Count, Meta(description="Nodes on which ENIs can be made.")] = 0
    without_agent: Annotated[
        Count, Meta(description="Nodes whose openeni agent has not reported yet.")
    ] = 0
    without_datapath: Annotated[
        Count, Meta(description="Nodes whose kernel lacks the pool's datapath.")
    ] = 0
    without_subnet: Annotated[
        Count, Meta(description="Nodes for whose zone spec.subnets has no subnet.")
    ] = 0
    at_limit: Annotated[
        Count, Meta(description="Nodes where pods wait and spec.capacity allows no more addresses.")
    ] = 0


class AddressCounts(Struct, frozen=True, rename="camel"):
    """Addresses of all ENIs of the pool, primary addresses not counted."""

    total: Annotated[Count, Meta(description="Addresses on the ENIs' ports.")] = 0
    granted: Annotated[Count, Meta(description="Addresses that pods have.")] = 0
    available: Annotated[Count, Meta(description="Addresses free for the next pods.")] = 0
    cooling: Annotated[Count, Meta(description="Addresses that rest after their pod.")] = 0
    retiring: Annotated[
        Count, Meta(description="Addresses that the operator is taking back from nodes.")
    ] = 0


class ResolvedSubnet(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A subnet that spec.subnets means."""

    id: Annotated[Id, Meta(description="Its id in Neutron.")]
    name: Annotated[str, Meta(max_length=255, description="Its name in Neutron.")]
    network_id: Annotated[Id, Meta(description="Id of its network.")] = field(name="networkID")
    cidr: Annotated[str, Meta(max_length=64, description="Its range of addresses.")]
    zone: Annotated[
        str, Meta(max_length=63, description="Zone that spec.subnets limits it to.")
    ] = ""
    free_count: Annotated[
        Count,
        Meta(
            description="Free addresses, at most: ports of other projects are not seen. Counted "
            "when the subnets are looked up."
        ),
    ] = 0


class ResolvedSecurityGroup(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A security group that spec.securityGroups means."""

    id: Annotated[Id, Meta(description="Its id in Neutron.")]
    name: Annotated[str, Meta(max_length=255, description="Its name in Neutron.")]


class ENIPoolStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The observed state; written by the operator."""

    conditions: Annotated[
        tuple[Condition, ...],
        Meta(
            max_length=MOST_CONDITIONS,
            description="Ready, CloudReachable, Supported and CapacityAvailable.",
        ),
    ] = ()
    node_counts: NodeCounts = NodeCounts()
    eni_count: Annotated[Count, Meta(description="ENIs of the pool, on all nodes.")] = field(
        name="eniCount", default=0
    )
    address_counts: AddressCounts = AddressCounts()
    free_count: Annotated[
        Count, Meta(description="Free addresses in all subnets of the pool, at most.")
    ] = 0
    datapath_mode: Annotated[
        str,
        Meta(
            max_length=16,
            description="The datapath in one word: Veth, IPVlanL2, IPVlanL3S or IPVlanL3.",
        ),
    ] = ""
    subnets: Annotated[
        tuple[ResolvedSubnet, ...],
        Meta(
            max_length=MOST_RESOLVED, description="Subnets that spec.subnets means, in its order."
        ),
    ] = ()
    security_groups: Annotated[
        tuple[ResolvedSecurityGroup, ...],
        Meta(
            max_length=MOST_RESOLVED, description="Security groups that spec.securityGroups means."
        ),
    ] = ()
    observed_generation: Annotated[
        Generation, Meta(description="The metadata.generation that this status describes.")
    ] = 0
