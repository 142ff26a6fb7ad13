"""ENI: one Neutron port on one node's server. Cluster-scoped, written by the operator."""

from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.conditions import Condition
from openeni_crds.enipool import Datapath
from openeni_crds.meta import Address, Name, ObjectMeta

Id = Annotated[str, Meta(min_length=1, max_length=64)]


class ENISpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Copied from the pool at creation and immutable, but for `retiring`."""

    pool: Name
    node_name: Name
    server_id: Id = field(name="serverID")
    cloud: Annotated[str, Meta(min_length=1, max_length=63)]
    network: Id
    subnets: Annotated[
        tuple[Id, ...], Meta(min_length=1, max_length=2, description="Ids, one a family.")
    ]
    security_groups: Annotated[tuple[Id, ...], Meta(max_length=16)]
    datapath: Datapath
    mtu: Annotated[int, Meta(ge=576, le=65535)]
    addresses: Annotated[
        int, Meta(ge=1, le=31, description="How many addresses a family, beside the primary.")
    ]
    retiring: Annotated[
        tuple[Address, ...],
        Meta(max_length=62, description="Addresses that the operator wants back."),
    ] = ()


class PortSubnet(Struct, frozen=True, rename="camel", omit_defaults=True):
    id: Id
    cidr: Annotated[str, Meta(max_length=64)]
    gateway: Annotated[str, Meta(max_length=45)] = ""  # "" where the subnet has none


class PortStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The port as Neutron last showed it. Owned by the operator."""

    id: Id
    name: Annotated[str, Meta(max_length=255)]
    mac_address: Annotated[str, Meta(max_length=17)]
    revision: Annotated[int, Meta(ge=0)]
    mtu: Annotated[int, Meta(ge=68, le=65535)]
    subnets: Annotated[tuple[PortSubnet, ...], Meta(max_length=2)]
    primary: Annotated[
        tuple[Address, ...],
        Meta(min_length=1, max_length=2, description="The ENI's own, one a family: no pod's."),
    ]
    addresses: Annotated[tuple[Address, ...], Meta(max_length=62)]


class AddressAt(Struct, frozen=True, rename="camel"):
    """An answer about one address at one metadata.generation of the ENI."""

    address: Address
    generation: Annotated[int, Meta(ge=0)]


class NodeStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The node's side. Owned by the node's agent; at most one write a second."""

    device: Annotated[str, Meta(max_length=15)] = ""
    ifindex: Annotated[int, Meta(ge=0)] = 0
    granted: Annotated[int, Meta(ge=0)] = 0
    cooling: Annotated[int, Meta(ge=0)] = 0
    available: Annotated[int, Meta(ge=0)] = 0
    idle_since: Annotated[
        str, Meta(max_length=32, description="RFC 3339; empty while an address is in use.")
    ] = ""
    retired: Annotated[
        tuple[AddressAt, ...],
        Meta(max_length=62, description="Never granted again: the operator may free them."),
    ] = ()
    refused: Annotated[
        tuple[AddressAt, ...], Meta(max_length=62, description="Granted: a pod holds them.")
    ] = ()


class ENIStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    conditions: Annotated[tuple[Condition, ...], Meta(max_length=8)] = ()
    state: Annotated[
        str, Meta(max_length=32, description="One word for people; no code reads it.")
    ] = ""
    port: PortStatus | None = None
    node: NodeStatus | None = None


class ENI(Struct, frozen=True, rename="camel", omit_defaults=True):
    metadata: ObjectMeta
    spec: ENISpec
    status: ENIStatus = ENIStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name
