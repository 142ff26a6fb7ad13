"""ENIPool: what an administrator applies. Cluster-scoped."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.conditions import Condition
from openeni_crds.meta import (
    Count,
    Duration,
    Generation,
    LabelSelector,
    Name,
    ObjectMeta,
    decodable,
)


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
    """A subnet that ENIs of the pool get addresses from."""

    subnet: Annotated[
        str, Meta(min_length=1, max_length=255, description="Id or name of a Neutron subnet.")
    ]
    zone: Annotated[
        str,
        Meta(
            max_length=63,
            pattern="^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
            description="Only for nodes whose label topology.kubernetes.io/zone has this value.",
        ),
    ] = ""


class Datapath(Struct, frozen=True, rename="camel", omit_defaults=True):
    """How pods are connected. It cannot change while an ENI of the pool exists."""

    mode: Annotated[
        Mode,
        Meta(
            description="Veth: a pair of links and a route per pod; works on every kernel and with "
            "everything that filters on the node. IPVlan: the pod's link sits on the ENI; needs "
            "ipvlan in the kernel."
        ),
    ]
    ipvlan_mode: Annotated[
        IPVlanMode | None,
        Meta(
            description="Required with mode IPVlan, forbidden with Veth. L3S: through the node's "
            "netfilter, so Services and policies work. L2: the fastest; traffic inside the subnet "
            "passes the node by. L3: only where the network answers ARP for the port's fixed IPs "
            "or routes to the node."
        ),
    ] = field(name="ipvlanMode", default=None)
    mtu: Annotated[
        Annotated[int, Meta(ge=576, le=9000)] | None,
        Meta(
            description="MTU of the pods in bytes; default: the network's. At least 1280 where a "
            "subnet is IPv6 (RFC 8200, section 5)."
        ),
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
    """How many ENIs and addresses each node gets; all numbers are per node and per family."""

    growth: Annotated[
        Growth,
        Meta(
            description="Static: an ENI gets all its addresses when it is made; works on networks "
            "of other projects. Elastic: addresses are added to and taken from attached ENIs; "
            "needs the network's ownership. Auto: Elastic where the cloud allows it."
        ),
    ] = Growth.AUTO
    addresses_per_eni: Annotated[
        int,
        Meta(ge=1, le=31, description="Addresses for pods on each ENI; its primary comes on top."),
    ] = field(name="addressesPerENI", default=15)
    max_enis_per_node: Annotated[
        int, Meta(ge=1, le=16, description="ENIs of this pool on one node.")
    ] = field(name="maxENIsPerNode", default=4)
    min_available: Annotated[
        int, Meta(ge=0, le=128, description="Addresses kept free on each node for the next pods.")
    ] = 2
    max_available: Annotated[
        Annotated[int, Meta(ge=0, le=128)] | None,
        Meta(description="Free addresses beyond it go back. Default: only idle ENIs do."),
    ] = None
    max_addresses_per_node: Annotated[
        Annotated[int, Meta(ge=1, le=128)] | None,
        Meta(description="Addresses of this pool on one node. Default: what its ENIs hold."),
    ] = None


class Reclaim(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What happens to idle ENIs."""

    policy: Annotated[
        ReclaimPolicy, Meta(description="After: deleted when idle for `after`. Never: kept.")
    ] = ReclaimPolicy.AFTER
    after: Annotated[
        Duration,
        Meta(description="Required with policy After (10s to 720h), forbidden with Never."),
    ] = ""


class ENIPoolSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What an administrator wants."""

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
    selection: Annotated[
        Selection,
        Meta(
            description="Default: pods that no pool selects come here. OnRequest: only pods with "
            "the annotation openeni.io/pool, or that a selector below matches."
        ),
    ] = Selection.ON_REQUEST
    pod_selector: Annotated[
        LabelSelector | None, Meta(description="Pods of this pool by label. Absent: none by it.")
    ] = None
    namespace_selector: Annotated[
        LabelSelector | None,
        Meta(description="Pods of this pool by their namespace's labels. Absent: none by it."),
    ] = None
    capacity: Capacity = Capacity()
    cool_down: Annotated[
        Duration,
        Meta(description="How long an address rests after a pod has left it (30s to 1h)."),
    ] = "120s"
    reclaim: Reclaim = Reclaim(after="15m")


class AddressCounts(Struct, frozen=True, rename="camel"):
    """Addresses of all ENIs of the pool."""

    total: Annotated[Count, Meta(description="On attached ENIs, primaries not counted.")] = 0
    granted: Annotated[Count, Meta(description="Pods have them.")] = 0
    available: Annotated[Count, Meta(description="Free for the next pods.")] = 0
    cooling: Annotated[Count, Meta(description="Resting after a pod has left.")] = 0
    retiring: Annotated[Count, Meta(description="On their way back to Neutron.")] = 0


class ResolvedSubnet(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A subnet of the spec as Neutron knows it."""

    subnet: Annotated[str, Meta(max_length=255, description="As spec.subnets names it.")]
    id: Annotated[str, Meta(max_length=64, description="Its id in Neutron.")]
    network_id: Annotated[str, Meta(max_length=64, description="Its network's id.")] = field(
        name="networkID"
    )
    cidr: Annotated[str, Meta(max_length=64, description="Its addresses.")]
    free: Annotated[
        Count, Meta(description="An upper bound: members do not see other projects' ports.")
    ] = 0


class ENIPoolStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is. Owned by the operator."""

    conditions: Annotated[
        tuple[Condition, ...],
        Meta(max_length=8, description="Ready, CloudReachable, CapacityAvailable, Supported."),
    ] = ()
    nodes: Annotated[Count, Meta(description="Nodes that the pool serves.")] = 0
    enis: Annotated[Count, Meta(description="ENIs of the pool.")] = 0
    addresses: AddressCounts = AddressCounts()
    mode: Annotated[
        str, Meta(max_length=16, description="spec.datapath in one word, for people.")
    ] = ""
    growth: Annotated[str, Meta(max_length=16, description="The growth in force.")] = ""
    subnets: Annotated[
        tuple[ResolvedSubnet, ...], Meta(max_length=16, description="spec.subnets, resolved.")
    ] = ()
    observed_generation: Annotated[
        Generation, Meta(description="metadata.generation that was looked at.")
    ] = 0


@decodable
class ENIPool(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A supply of ENIs for the pods of some nodes: subnets, security groups, datapath, sizing."""

    metadata: ObjectMeta
    spec: ENIPoolSpec
    status: ENIPoolStatus = ENIPoolStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name
