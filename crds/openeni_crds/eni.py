"""ENI: one Neutron port on one node's server. Cluster-scoped, written by the operator."""

from typing import Annotated, Final

from msgspec import Meta, Struct, field

from openeni_crds.conditions import Reason, Status
from openeni_crds.enipool import Datapath
from openeni_crds.meta import Address, CloudName, Id, Name, ObjectMeta, decodable
from openeni_crds.status.eni import MOST_ADDRESSES, ENIStatus, QoSPolicyId
from openeni_crds.terms import MOST_PORT_TAGS, PortTag

MOST_SECURITY_GROUPS = 64
# The port cannot serve pods, whatever the operator does: another ENI takes its place.
BROKEN: Final = frozenset({Reason.PORT_CHANGED, Reason.ATTACHED_ELSEWHERE})


class ENISpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Desired state, written by the operator.

    Only `addressCount`, `retiring`, `securityGroupIDs`, `portTags` and `qosPolicyID` change after
    creation.
    """

    pool_name: Annotated[Name, Meta(description="ENIPool that the ENI was made for.")]
    node_name: Annotated[Name, Meta(description="Node whose pods get the ENI's addresses.")]
    server_id: Annotated[Id, Meta(description="Id of the node's server in Nova.")] = field(
        name="serverID"
    )
    cloud: Annotated[CloudName, Meta(description="Entry of the operator's clouds.yaml.")]
    network_id: Annotated[Id, Meta(description="Id of the port's network.")] = field(
        name="networkID"
    )
    subnet_ids: Annotated[
        tuple[Id, ...],
        Meta(
            min_length=1,
            max_length=2,
            description="Ids of the subnets of the port's addresses, one for each IP family.",
        ),
    ] = field(name="subnetIDs")
    security_group_ids: Annotated[
        tuple[Id, ...],
        Meta(
            max_length=MOST_SECURITY_GROUPS,
            description="Ids of the port's security groups. The operator updates them when the "
            "pool's change.",
        ),
    ] = field(name="securityGroupIDs")
    datapath: Annotated[Datapath, Meta(description="Copy of the pool's spec.datapath.")]
    mtu: Annotated[
        int,
        Meta(
            ge=576,
            le=65535,
            description="MTU of the pods in bytes: the pool's spec.datapath.mtu, else the "
            "network's.",
        ),
    ]
    address_count: Annotated[
        int,
        Meta(
            ge=1,
            le=31,
            description="Addresses for pods in each subnet; the port has one more, the primary. "
            "With growth Elastic the operator changes it: it adds those that the port lacks, and "
            "removes as many retired ones as the port has more.",
        ),
    ]
    retiring: Annotated[
        tuple[Address, ...],
        Meta(
            max_length=MOST_ADDRESSES,
            description="Addresses that the operator takes back before it removes them from the "
            "port or deletes the ENI: the agent stops granting them and reports each in "
            "status.node.retired or refused.",
        ),
    ] = ()
    port_tags: Annotated[
        tuple[PortTag, ...],
        Meta(
            max_length=MOST_PORT_TAGS,
            description="Tags that the pool wants on the port, besides those that tell whose it "
            "is. The operator updates them when the pool's change.",
        ),
    ] = ()
    qos_policy_id: Annotated[
        QoSPolicyId,
        Meta(
            description="Id of the QoS policy that the pool wants on the port. Absent or empty: "
            "none. The operator updates it when the pool's changes."
        ),
    ] = field(name="qosPolicyID", default="")


@decodable
class ENI(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One Neutron port with several fixed IPs, attached to one node's server.

    Deleting it stops new grants; it and its port go after its last pod, and the operator creates
    another if the node needs one.
    """

    metadata: ObjectMeta
    spec: ENISpec
    status: ENIStatus = ENIStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name

    @property
    def is_broken(self) -> bool:
        """Return True if its port was changed so that it cannot serve pods any more."""
        return any(c.reason in BROKEN and c.status == Status.FALSE for c in self.status.conditions)

    @property
    def is_ending(self) -> bool:
        """Return True if it goes after its last pod, and no pod gets an address of it."""
        return self.metadata.deleting or self.is_broken

    @property
    def is_retired_whole(self) -> bool:
        """Return True if the operator asks for every address that its port has."""
        port, asked = self.status.port, set(self.spec.retiring)
        return port is not None and bool(asked) and asked.issuperset(port.addresses)

    @property
    def offers_addresses(self) -> bool:
        """Return True if pods may get its addresses, at the latest when it is Ready again."""
        return not (self.is_ending or self.is_retired_whole)
