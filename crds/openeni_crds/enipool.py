"""ENIPool: what an administrator applies. Cluster-scoped."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.enipool_status import ENIPoolStatus
from openeni_crds.meta import CloudName, Duration, LabelSelector, Name, ObjectMeta, decodable
from openeni_crds.terms import SecurityGroupTerm, SubnetTerm


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


class ReclaimPolicy(StrEnum):
    AFTER = "After"
    NEVER = "Never"


class IPVlanDatapath(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Settings of the mode IPVlan."""

    mode: Annotated[
        IPVlanMode,
        Meta(
            description="Mode of the ipvlan links. L3S passes the node's netfilter, so Services "
            "and NetworkPolicies see the pod's address. L2 is the fastest; traffic inside the "
            "subnet bypasses the node. L3 needs a network that answers ARP for the port's fixed "
            "IPs itself, as ML2/OVN does, or that routes to the node."
        ),
    ]


class Datapath(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The connection between a pod and its ENI. It cannot change: create another pool."""

    mode: Annotated[
        Mode,
        Meta(
            description="Veth gives each pod a pair of links and a route on the node; it works on "
            "every kernel. IPVlan puts the pod's link on the ENI; it needs ipvlan in the kernel "
            "and the field ipvlan."
        ),
    ]
    ipvlan: Annotated[
        IPVlanDatapath | None,
        Meta(description="Settings of the mode IPVlan. Required with it, forbidden with Veth."),
    ] = None
    mtu: Annotated[
        Annotated[int, Meta(ge=576, le=9000)] | None,
        Meta(
            description="MTU of the pods in bytes, at most the network's. Absent: the network's. "
            "A network with an IPv6 subnet needs at least 1280 (RFC 8200, section 5)."
        ),
    ] = None
    metadata_service: Annotated[
        MetadataService,
        Meta(
            description="Block drops the pods' packets to the metadata service (169.254.169.254). "
            "Allow lets them through, which gives the pods the node's user data, since a pod's "
            "address is a fixed IP of the node's port; it requires namespaceSelector."
        ),
    ] = MetadataService.BLOCK

    @property
    def ipvlan_mode(self) -> IPVlanMode | None:
        """Return the mode of the ipvlan links, None with Veth."""
        return self.ipvlan.mode if self.ipvlan else None

    @property
    def word(self) -> str:
        """Return the datapath in one word: Veth, IPVlanL2, IPVlanL3S or IPVlanL3."""
        return f"{self.mode}{self.ipvlan_mode or ''}"


class Capacity(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Numbers of ENIs and addresses that each node gets.

    All numbers are per node. An address here is what one pod takes: with IPv4 and IPv6 subnets, one
    of each family.
    """

    addresses_per_eni: Annotated[
        int,
        Meta(
            ge=1,
            le=31,
            description="Addresses for pods on each new ENI. Its port has one more, the primary "
            "address, which stays on the node. Existing ENIs keep their number.",
        ),
    ] = field(name="addressesPerENI", default=15)
    max_enis_per_node: Annotated[
        int,
        Meta(
            ge=1,
            le=16,
            description="The most ENIs of this pool that one node may have. Each one takes a port "
            "of the project's quota and a NIC slot of the server.",
        ),
    ] = field(name="maxENIsPerNode", default=4)
    min_available: Annotated[
        int,
        Meta(
            ge=0,
            le=128,
            description="Addresses to keep free on each node for the next pods. Pods beyond them "
            "wait until another ENI is attached.",
        ),
    ] = 2
    max_available: Annotated[
        Annotated[int, Meta(ge=0, le=128)] | None,
        Meta(
            description="A node with more free addresses than this gives an idle ENI back at once. "
            "Absent: only after reclaim.after."
        ),
    ] = None
    max_addresses_per_node: Annotated[
        Annotated[int, Meta(ge=1, le=128)] | None,
        Meta(
            description="The most addresses of this pool that one node may have. Absent: "
            "addressesPerENI x maxENIsPerNode."
        ),
    ] = None


class Reclaim(Struct, frozen=True, rename="camel", omit_defaults=True):
    """When an idle ENI is deleted. An ENI is idle while no pod has an address of it."""

    policy: Annotated[
        ReclaimPolicy,
        Meta(description="After deletes an ENI that has been idle for `after`. Never keeps it."),
    ] = ReclaimPolicy.AFTER
    after: Annotated[
        Duration,
        Meta(
            description="How long an ENI must have been idle: a duration such as 15m or 1h30m, "
            "from 10s to 720h. Ignored with policy Never."
        ),
    ] = "15m"


class ENIPoolSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The wanted state; written by an administrator."""

    subnets: Annotated[
        tuple[SubnetTerm, ...],
        Meta(
            min_length=1,
            max_length=16,
            description="Subnets for new ENIs, in order of preference; all of one Neutron network. "
            "An ENI gets the first IPv4 and the first IPv6 subnet for its node's zone that have "
            "enough free addresses. DHCP must be off in each.",
        ),
    ]
    security_groups: Annotated[
        tuple[SecurityGroupTerm, ...],
        Meta(
            max_length=16,
            description="Security groups of the ports of new ENIs, and so of all pods on them. "
            "Existing ENIs keep theirs. An empty list means none: Neutron then drops whatever is "
            "sent to the pods.",
        ),
    ]
    datapath: Datapath
    cloud: Annotated[
        CloudName,
        Meta(
            description="Entry of the operator's clouds.yaml: the project and region in which the "
            "nodes are servers. New ENIs only."
        ),
    ] = "default"
    node_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Nodes that get ENIs of this pool, by label. Absent: every node whose "
            "spec.providerID begins with openstack://. Other nodes never get one."
        ),
    ] = None
    namespace_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Namespaces, by label, whose pods may use the pool. Pods of other "
            "namespaces are refused, even if they name the pool. Absent: every namespace."
        ),
    ] = None
    pod_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Pods, by label, that use the pool unless they name another one. {}: every "
            "pod. Absent: only pods that name the pool in the annotation openeni.io/pool."
        ),
    ] = None
    priority: Annotated[
        int,
        Meta(
            ge=-1000,
            le=1000,
            description="Of several pools that select a pod, the one with the highest priority "
            "serves it; among equals the oldest, then the first by name. A pod that has an address "
            "keeps it.",
        ),
    ] = 0
    capacity: Capacity = Capacity()
    cool_down: Annotated[
        Duration,
        Meta(
            description="How long an address rests after its pod has gone, before another pod gets "
            "it: a duration such as 130s, from 30s to 1h. Peers of the old pod may keep "
            "half-open connections to its address for 120 s."
        ),
    ] = "130s"
    reclaim: Reclaim = Reclaim()


@decodable
class ENIPool(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A supply of ENIs for the pods of some nodes: their subnets, security groups and datapath."""

    metadata: ObjectMeta
    spec: ENIPoolSpec
    status: ENIPoolStatus = ENIPoolStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name
