"""ENIPool: what an administrator applies. Cluster-scoped."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.datapath_mode import DatapathMode
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
            description="Mode of the ipvlan links. L3S passes the node's netfilter: a Service's "
            "remote backend sees the pod's address. L2 bypasses it inside the subnet, a Service's "
            "remote backend sees the ENI's primary address, and it needs Linux 5.16 unless "
            "metadataService is Allow. L3 needs a network that answers ARP for the port's fixed "
            "IPs itself, as ML2/OVN does, or that routes to the node; openeni cannot check this: "
            "elsewhere such pods are Ready but unreachable."
        ),
    ]


class Datapath(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The connection between a pod and its ENI. Immutable: create another pool."""

    mode: Annotated[
        Mode,
        Meta(
            description="Veth gives each pod a pair of links and a route on the node; it works on "
            "every kernel. IPVlan puts the pod's link on the ENI; it needs ipvlan in the kernel "
            "and the field ipvlan. Nodes whose kernel lacks the datapath get no ENI "
            "(ModeUnsupported)."
        ),
    ]
    ipvlan: Annotated[
        IPVlanDatapath | None,
        Meta(description="Settings of the mode IPVlan. Required with it, forbidden with Veth."),
    ] = None
    mtu: Annotated[
        Annotated[int, Meta(ge=576, le=65535)] | None,
        Meta(
            description="MTU of the pods in bytes. If it is more than the network's, or less than "
            "the 1280 that IPv6 needs where there is an IPv6 subnet, the pool is not Ready "
            "(InvalidSpec). Absent: the network's when an ENI is created."
        ),
    ] = None
    metadata_service: Annotated[
        MetadataService,
        Meta(
            description="Block drops the pods' packets to the metadata service (169.254.169.254). "
            "Allow lets them through, which gives the pods the node's user data, since a pod's "
            "address is a fixed IP of the node's port; an ENIPool then needs a namespaceSelector "
            "with matchLabels. Pods with hostNetwork are not affected."
        ),
    ] = MetadataService.BLOCK

    @property
    def ipvlan_mode(self) -> IPVlanMode | None:
        """Return the mode of the ipvlan links, None with Veth."""
        return self.ipvlan.mode if self.ipvlan else None

    @property
    def word(self) -> DatapathMode:
        """Return the datapath in one word."""
        return DatapathMode(f"{self.mode}{self.ipvlan_mode or ''}")


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
            description="Addresses for pods on each ENI. Its port has one more, the primary "
            "address, which stays on the node. A change concerns new ENIs.",
        ),
    ] = field(name="addressesPerENI", default=15)
    max_enis_per_node: Annotated[
        int,
        Meta(
            ge=1,
            le=16,
            description="Maximum number of ENIs of this pool on one node. Each takes a port of the "
            "project's quota and a NIC slot of the server; without a free slot the ENI is not "
            "Ready (NoHotplugSlot). Lowering it deletes none, it only prevents new ones.",
        ),
    ] = field(name="maxENIsPerNode", default=4)
    min_available: Annotated[
        int,
        Meta(
            ge=0,
            le=128,
            description="Addresses to keep free on each selected node for the next pods. With 1 "
            "or more a node gets its first ENI as soon as the pool selects it, even without pods; "
            "with 0, when a pod waits there. If the limits below allow fewer, the node gets what "
            "they allow. A change takes effect at once.",
        ),
    ] = 2
    max_available: Annotated[
        Annotated[int, Meta(ge=0, le=128)] | None,
        Meta(
            description="A node with more free addresses than this gives back one idle ENI at a "
            "time, without waiting for reclaim.after and whatever reclaim.policy is, as long as "
            "its other ENIs hold minAvailable. So a node's last ENI may exceed it. Absent: no "
            "maximum."
        ),
    ] = None
    max_addresses_per_node: Annotated[
        Annotated[int, Meta(ge=1, le=128)] | None,
        Meta(
            description="Maximum number of addresses of this pool on one node; the last ENI is "
            "made smaller to fit. Lowering it takes nothing back. Absent: no limit but "
            "maxENIsPerNode."
        ),
    ] = None


class Reclaim(Struct, frozen=True, rename="camel", omit_defaults=True):
    """When an idle ENI is deleted. An ENI is idle while no pod has an address of it."""

    policy: Annotated[
        ReclaimPolicy,
        Meta(
            description="After deletes an ENI that has been idle for `after`, if the node's other "
            "ENIs still hold minAvailable. Never does not; maxAvailable still applies."
        ),
    ] = ReclaimPolicy.AFTER
    after: Annotated[
        Duration,
        Meta(
            description="How long an ENI must have been idle: a duration such as 15m or 1h30m, "
            "from 10s to 720h. Ignored with policy Never. A change takes effect at once."
        ),
    ] = "15m"


class ENIPoolSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The wanted state; written by an administrator."""

    subnets: Annotated[
        tuple[SubnetTerm, ...],
        Meta(
            min_length=1,
            max_length=16,
            description="Subnets of the ENIs, in order of preference; all of one Neutron network, "
            "with DHCP off and without SLAAC; else the pool is not Ready "
            "(SubnetsOfDifferentNetworks, DHCPEnabled, SLAACEnabled). An ENI gets the first IPv4 "
            "and the first IPv6 subnet for its node's zone that have enough free addresses; if "
            "none has, the first is tried and the ENI waits (SubnetExhausted). IPv6 subnets are "
            "accepted but not yet tested in pools. A change concerns new ENIs.",
        ),
    ]
    security_groups: Annotated[
        tuple[SecurityGroupTerm, ...],
        Meta(
            max_length=16,
            description="Security groups of the ENIs' ports, and so of all pods on them. [] gives "
            "the ports none: Neutron then drops all their traffic, in both directions. The "
            "network needs port security, which is Neutron's default. A change concerns new ENIs: "
            "delete an ENI to have it replaced after its last pod.",
        ),
    ]
    datapath: Datapath
    cloud: Annotated[
        CloudName,
        Meta(
            description="Entry of the operator's clouds.yaml: the project and region in which the "
            "nodes are servers. Without such an entry CloudReachable is False "
            "(CloudNotConfigured); if its project lacks a node's server, that ENI is not Ready "
            "(ServerNotFound). A change concerns new ENIs; keep an entry until no ENI names it."
        ),
    ] = "default"
    node_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Nodes that get ENIs of this pool, by label. Absent or {}: every node, "
            "control-plane nodes included. Nodes whose spec.providerID is not an OpenStack one "
            "never get any. When a node no longer matches, its ENIs grant nothing more and are "
            "deleted after their last pod."
        ),
    ] = None
    namespace_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Namespaces, by label, whose pods may use the pool, asked for or not. "
            "Absent or {}: every namespace. Pods of other namespaces get no address from it, even "
            "if they name it. Pods keep the address that they have when this changes."
        ),
    ] = None
    pod_selector: Annotated[
        LabelSelector | None,
        Meta(
            description="Pods, by label, that get an address of this pool without asking, in "
            "namespaces that namespaceSelector permits. {}: every pod. Absent: only pods with the "
            "annotation openeni.io/pool. A change concerns new pods."
        ),
    ] = None
    priority: Annotated[
        int,
        Meta(
            ge=-1000,
            le=1000,
            description="Of the pools that serve the node, permit the namespace and select the "
            "pod, the one with the highest priority serves it; among equals the oldest, then the "
            "first by name. The annotation openeni.io/pool overrules it. A change concerns new "
            "pods.",
        ),
    ] = 0
    capacity: Capacity = Capacity()
    cool_down: Annotated[
        Duration,
        Meta(
            description="How long an address cools down after its pod has gone, before another pod "
            "gets it: a duration such as 130s, from 30s to 1h. Peers keep half-open connections to "
            "the old pod for up to 120 s. A change concerns addresses granted after it."
        ),
    ] = "130s"
    reclaim: Reclaim = Reclaim()


@decodable
class ENIPool(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A supply of ENIs for the pods of some nodes: their subnets, security groups and datapath.

    Deleting it stops new grants; it goes after its last ENI, and each ENI after its last pod.
    """

    metadata: ObjectMeta
    spec: ENIPoolSpec
    status: ENIPoolStatus = ENIPoolStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name
