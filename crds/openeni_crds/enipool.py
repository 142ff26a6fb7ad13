"""ENIPool: what an administrator applies. Cluster-scoped."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from openeni_crds.capacity import Capacity, Limits, Reclaim
from openeni_crds.datapath_mode import DatapathMode
from openeni_crds.meta import CloudName, Duration, LabelSelector, Name, ObjectMeta, decodable
from openeni_crds.status.enipool import ENIPoolStatus
from openeni_crds.terms import (
    MOST_PORT_TAGS,
    PortTag,
    QoSPolicyTerm,
    SecurityGroupTerm,
    SubnetTerm,
)


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


class IPVlanDatapath(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Settings of the mode IPVlan."""

    mode: Annotated[
        IPVlanMode,
        Meta(
            description="Mode of the ipvlan links. L3S passes the node's netfilter: a Service's "
            "remote backend sees the pod's address. L2 bypasses it inside the subnet, a Service's "
            "remote backend sees the ENI's primary address, and it needs Linux 5.16 unless "
            "metadataService is Allow. L3 needs a network that answers ARP for the port's fixed "
            "IPs itself, as ML2/OVN does, or that routes to the node: elsewhere such pods are "
            "Ready but unreachable, and the ENI's condition GatewayReachable says so."
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


class Ports(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Settings of the ENIs' Neutron ports. A change is applied to existing ports too.

    The condition UpToDate reports the progress. ENIs in another cloud than spec.cloud keep theirs.
    """

    tags: Annotated[
        tuple[PortTag, ...],
        Meta(
            max_length=MOST_PORT_TAGS,
            description="Tags of the ports, such as cost-center=7; for the cloud's people, openeni "
            "does not read them. Tags that others give the ports stay; a tag that is removed here "
            "is removed from the ports. openeni- begins openeni's own tags and none of these.",
        ),
    ] = ()
    qos_policy: Annotated[
        QoSPolicyTerm | None,
        Meta(
            description="QoS policy of the ports; its limits hold for all pods of an ENI together. "
            "A minimum bandwidth holds only on ports that are attached after the policy was set. "
            "If the cloud has no QoS, Supported is False (QoSUnsupported) and ports get none. If "
            "this is absent, ports keep the policy that others gave them, and lose one that the "
            "pool gave them."
        ),
    ] = None


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
            "none has, the first is tried and the ENI waits (SubnetExhausted). A change concerns "
            "new ENIs.",
        ),
    ]
    security_groups: Annotated[
        tuple[SecurityGroupTerm, ...],
        Meta(
            max_length=16,
            description="Security groups of the ENIs' ports, and so of all pods on them. [] gives "
            "the ports none: Neutron then drops all their traffic, in both directions, unless port "
            "security is off. For groups the network needs port security, Neutron's default. A "
            "change is applied to existing ports too, one call for each; the condition UpToDate "
            "reports the progress. ENIs in another cloud than spec.cloud keep theirs. If the cloud "
            "changes so that these terms no longer select a group that ports have, ports keep "
            "their groups (UpToDate is False, SelectionChanged) until the terms change. If a term "
            "selects nothing, the pool is not Ready (NotFound).",
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
    limits: Limits = Limits()
    ports: Ports = Ports()
    paused: Annotated[
        bool,
        Meta(
            description="If true, the operator makes no change in the cloud for this pool, and "
            "creates or deletes no ENI object. Nodes keep granting the addresses they have, but "
            "get no more; ENIs already retiring keep retiring. Changes of the spec take effect "
            "after the pause. An ENI deleted by hand stops granting at once and goes after the "
            "pause; so does a deleted pool. Use it for maintenance of the cloud."
        ),
    ] = False


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
