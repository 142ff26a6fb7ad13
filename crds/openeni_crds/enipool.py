"""ENIPool: what an administrator applies. Cluster-scoped."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.conditions import Condition
from openeni_crds.meta import Duration, LabelSelector, Name, ObjectMeta


class Selection(StrEnum):
    DEFAULT = "Default"
    ON_REQUEST = "OnRequest"


class Mode(StrEnum):
    VETH = "Veth"
    IPVLAN = "IPVlan"


class IPVlanMode(StrEnum):
    L2 = "L2"
    L3S = "L3S"
    L3 = "L3"


class MetadataService(StrEnum):
    BLOCK = "Block"
    ALLOW = "Allow"


class Growth(StrEnum):
    AUTO = "Auto"
    STATIC = "Static"
    ELASTIC = "Elastic"


class ReclaimPolicy(StrEnum):
    AFTER = "After"
    NEVER = "Never"


class PoolSubnet(Struct, frozen=True, rename="camel", omit_defaults=True):
    subnet: Annotated[
        str, Meta(min_length=1, max_length=255, description="Id or name of a Neutron subnet.")
    ]
    zone: Annotated[
        str,
        Meta(
            max_length=63,
            description="Only for nodes whose label topology.kubernetes.io/zone has this value.",
        ),
    ] = ""


class Datapath(Struct, frozen=True, rename="camel", omit_defaults=True):
    mode: Annotated[Mode, Meta(description="How pods are connected to the ENI.")]
    ipvlan_mode: Annotated[
        IPVlanMode | None,
        Meta(description="Required with mode IPVlan. L3S unless you know why not."),
    ] = field(name="ipvlanMode", default=None)
    mtu: Annotated[
        int | None, Meta(description="MTU of the pods in bytes; default: the network's.")
    ] = None
    metadata_service: Annotated[
        MetadataService,
        Meta(
            description="Whether pods reach 169.254.169.254, which would hand them the node's "
            "user-data: pod addresses are fixed IPs of the node's port."
        ),
    ] = MetadataService.BLOCK

    @property
    def label(self) -> str:
        """One word for people: Veth, IPVlanL2, IPVlanL3S or IPVlanL3."""
        return f"{self.mode}{self.ipvlan_mode or ''}"


class Capacity(Struct, frozen=True, rename="camel", omit_defaults=True):
    growth: Growth = Growth.AUTO
    addresses_per_eni: Annotated[
        int,
        Meta(ge=1, le=31, description="Addresses for pods on each ENI; its primary comes on top."),
    ] = field(name="addressesPerENI", default=15)
    max_enis_per_node: Annotated[int, Meta(ge=1, le=16)] = field(name="maxENIsPerNode", default=4)
    min_available: Annotated[
        int, Meta(ge=0, le=128, description="Addresses kept free on each node for the next pods.")
    ] = 2
    max_available: Annotated[int | None, Meta(description="Free addresses beyond it go back.")] = (
        None
    )
    max_addresses_per_node: int | None = None


class Reclaim(Struct, frozen=True, rename="camel", omit_defaults=True):
    policy: ReclaimPolicy = ReclaimPolicy.AFTER
    after: Annotated[Duration, Meta(description="How long an ENI may be idle.")] = "15m"


class ENIPoolSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    subnets: Annotated[
        tuple[PoolSubnet, ...],
        Meta(
            min_length=1,
            max_length=16,
            description="In order of preference; all of one Neutron network.",
        ),
    ]
    security_groups: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=255)], ...],
        Meta(
            max_length=16,
            description="Ids or names. Explicit: [] means none, and nothing reaches the pods.",
        ),
    ]
    datapath: Datapath
    cloud: Annotated[
        str, Meta(min_length=1, max_length=63, description="Entry of the mounted clouds.yaml.")
    ] = "default"
    node_selector: Annotated[
        LabelSelector | None,
        Meta(description="Default: every node whose providerID is an OpenStack one."),
    ] = None
    selection: Selection = Selection.ON_REQUEST
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    capacity: Capacity = Capacity()
    cool_down: Annotated[
        Duration, Meta(description="How long an address rests after a pod has left it.")
    ] = "120s"
    reclaim: Reclaim = Reclaim()


class AddressCounts(Struct, frozen=True, rename="camel"):
    total: Annotated[int, Meta(ge=0)] = 0
    granted: Annotated[int, Meta(ge=0)] = 0
    available: Annotated[int, Meta(ge=0)] = 0
    cooling: Annotated[int, Meta(ge=0)] = 0
    retiring: Annotated[int, Meta(ge=0)] = 0


class ResolvedSubnet(Struct, frozen=True, rename="camel", omit_defaults=True):
    subnet: Annotated[str, Meta(max_length=255)]  # as spec.subnets names it
    id: Annotated[str, Meta(max_length=64)]
    network_id: Annotated[str, Meta(max_length=64)]
    cidr: Annotated[str, Meta(max_length=64)]
    free: Annotated[
        int, Meta(ge=0, description="An upper bound: members do not see other projects' ports.")
    ] = 0


class ENIPoolStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    conditions: Annotated[tuple[Condition, ...], Meta(max_length=8)] = ()
    nodes: Annotated[int, Meta(ge=0)] = 0
    enis: Annotated[int, Meta(ge=0)] = 0
    addresses: AddressCounts = AddressCounts()
    mode: Annotated[
        str, Meta(max_length=16, description="spec.datapath in one word, for people.")
    ] = ""
    growth: Annotated[str, Meta(max_length=16, description="The growth in force.")] = ""
    subnets: Annotated[tuple[ResolvedSubnet, ...], Meta(max_length=16)] = ()
    observed_generation: Annotated[int, Meta(ge=0)] = 0


class ENIPool(Struct, frozen=True, rename="camel", omit_defaults=True):
    metadata: ObjectMeta
    spec: ENIPoolSpec
    status: ENIPoolStatus = ENIPoolStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name
