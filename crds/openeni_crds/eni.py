"""ENI: one Neutron port on one node's server. Cluster-scoped, written by the operator."""

from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.conditions import Condition
from openeni_crds.enipool import Datapath
from openeni_crds.meta import Address, Count, Generation, Id, Name, ObjectMeta, decodable


class ENISpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Copied from the pool at creation and immutable, but for `addresses` and `retiring`."""

    pool: Annotated[Name, Meta(description="Its ENIPool.")]
    node_name: Annotated[Name, Meta(description="Its node in Kubernetes.")]
    server_id: Annotated[Id, Meta(description="The node's server in Nova.")] = field(
        name="serverID"
    )
    cloud: Annotated[
        str, Meta(min_length=1, max_length=63, description="Entry of the mounted clouds.yaml.")
    ]
    network: Annotated[Id, Meta(description="Id of the network of its port.")]
    subnets: Annotated[
        tuple[Id, ...], Meta(min_length=1, max_length=2, description="Ids, one a family.")
    ]
    security_groups: Annotated[
        tuple[Id, ...], Meta(max_length=16, description="Ids of its port's security groups.")
    ]
    datapath: Datapath
    mtu: Annotated[
        int, Meta(ge=576, le=65535, description="MTU of the pods in bytes: the one in force.")
    ]
    addresses: Annotated[
        int, Meta(ge=1, le=31, description="How many addresses a family, beside the primary.")
    ]
    retiring: Annotated[
        tuple[Address, ...],
        Meta(max_length=62, description="Addresses that the operator wants back."),
    ] = ()


class PortSubnet(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What the node must know of a subnet of the port."""

    id: Annotated[Id, Meta(description="Its id in Neutron.")]
    cidr: Annotated[str, Meta(max_length=64, description="Its addresses.")]
    gateway: Annotated[
        str, Meta(max_length=45, description="Its gateway; absent where it has none.")
    ] = ""


class PortStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The port as Neutron last showed it. Owned by the operator."""

    id: Annotated[Id, Meta(description="Its id in Neutron.")]
    name: Annotated[
        str, Meta(max_length=255, description="openeni-<cluster id>-<uid of this ENI>.")
    ]
    mac_address: Annotated[
        str,
        Meta(
            max_length=17,
            pattern="^([0-9a-f]{2}:){5}[0-9a-f]{2}$",
            description="What the node finds its NIC by.",
        ),
    ]
    revision: Annotated[Generation, Meta(description="Neutron's revision_number.")]
    mtu: Annotated[int, Meta(ge=68, le=65535, description="The network's MTU in bytes.")]
    subnets: Annotated[
        tuple[PortSubnet, ...], Meta(max_length=2, description="One a family of addresses.")
    ]
    primary: Annotated[
        tuple[Address, ...],
        Meta(min_length=1, max_length=2, description="The ENI's own, one a family: no pod's."),
    ]
    addresses: Annotated[
        tuple[Address, ...], Meta(max_length=62, description="For pods: its other fixed IPs.")
    ]


class AddressAt(Struct, frozen=True, rename="camel"):
    """An answer about one address at one metadata.generation of the ENI."""

    address: Annotated[Address, Meta(description="One of spec.retiring.")]
    generation: Annotated[Generation, Meta(description="metadata.generation that was answered.")]


class NodeStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The node's side. Owned by the node's agent; at most one write a second."""

    device: Annotated[str, Meta(max_length=15, description="Name of the NIC on the node.")] = ""
    ifindex: Annotated[Count, Meta(description="Its interface index there.")] = 0
    granted: Annotated[Count, Meta(description="Addresses that pods have.")] = 0
    cooling: Annotated[Count, Meta(description="Addresses that rest after a pod.")] = 0
    available: Annotated[Count, Meta(description="Addresses for the next pods.")] = 0
    idle_since: Annotated[
        str,
        Meta(
            max_length=32,
            description="RFC 3339; absent while an address is in use.",
            extra_json_schema={"format": "date-time"},
        ),
    ] = ""
    retired: Annotated[
        tuple[AddressAt, ...],
        Meta(max_length=62, description="Never granted again: the operator may free them."),
    ] = ()
    refused: Annotated[
        tuple[AddressAt, ...], Meta(max_length=62, description="Granted: a pod holds them.")
    ] = ()


class ENIStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is. Each part has one owner."""

    conditions: Annotated[
        tuple[Condition, ...],
        Meta(
            max_length=8,
            description="PortReady, Attached, Ready (operator); GuestPrepared, LinkReady (agent).",
        ),
    ] = ()
    state: Annotated[
        str, Meta(max_length=32, description="One word for people; no code reads it.")
    ] = ""
    port: PortStatus | None = None
    node: NodeStatus | None = None


@decodable
class ENI(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One Neutron port with several fixed IPs, attached to one node. Written by the operator."""

    metadata: ObjectMeta
    spec: ENISpec
    status: ENIStatus = ENIStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name
