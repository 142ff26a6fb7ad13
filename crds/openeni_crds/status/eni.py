"""The status of an ENI: its port, what is in force there, and its node, each by who sees it."""

from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.conditions import MOST_CONDITIONS, Condition
from openeni_crds.meta import Address, Count, Generation, Id
from openeni_crds.terms import PortTag

MOST_PODS = 31  # that one ENI can serve
MOST_ADDRESSES = 2 * MOST_PODS  # for pods on one port: one of each IP family for each
MOST_APPLIED = 64  # tags, more than MAX_TAGS_COUNT of neutron/extensions/tagging.py
MOST_APPLIED_POLICIES = 8
QoSPolicyId = Annotated[str, Meta(max_length=64)]  # "" for none


class PortSubnet(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A subnet of the port, as far as the node needs it."""

    id: Annotated[Id, Meta(description="The subnet's id in Neutron.")]
    cidr: Annotated[
        str,
        Meta(max_length=64, description="The subnet's range of addresses, such as 10.98.0.0/22."),
    ]
    gateway: Annotated[
        str, Meta(max_length=45, description="The subnet's gateway. Absent where it has none.")
    ] = ""


class PortStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The port as Neutron last showed it; written by the operator."""

    id: Annotated[Id, Meta(description="The port's id in Neutron.")]
    name: Annotated[
        str,
        Meta(
            max_length=255,
            description="The port's name in Neutron: openeni-, the first 8 digits of the UID of "
            "namespace kube-system, the ENI's UID.",
        ),
    ]
    mac_address: Annotated[
        str,
        Meta(
            max_length=17,
            pattern="^([0-9a-f]{2}:){5}[0-9a-f]{2}$",
            description="MAC address by which the node's agent finds the NIC.",
        ),
    ]
    revision: Annotated[Generation, Meta(description="The port's revision_number in Neutron.")]
    mtu: Annotated[int, Meta(ge=68, le=65535, description="MTU of the port's network in bytes.")]
    subnets: Annotated[
        tuple[PortSubnet, ...],
        Meta(max_length=2, description="Subnets of spec.subnetIDs, one per IP family."),
    ]
    primary: Annotated[
        tuple[Address, ...],
        Meta(
            min_length=1,
            max_length=2,
            description="Addresses that stay on the node, one per IP family. No pod gets them.",
        ),
    ]
    addresses: Annotated[
        tuple[Address, ...],
        Meta(
            max_length=MOST_ADDRESSES,
            description="Addresses for pods: the port's other fixed IPs in spec.subnetIDs. Fixed "
            "IPs in other subnets are ignored.",
        ),
    ]
    releasing: Annotated[
        tuple[Address, ...],
        Meta(
            max_length=MOST_ADDRESSES,
            description="Retired addresses that are being removed from the port. They are recorded "
            "before the call, which may be done late, and stay here until Neutron shows the port "
            "without them: no pod gets one.",
        ),
    ] = ()
    lost: Annotated[
        tuple[Address, ...],
        Meta(
            max_length=MOST_ADDRESSES,
            description="Addresses that were removed from the port outside openeni. A pod that "
            "has one gets AddressLost=True on its PodIP.",
        ),
    ] = ()
    project_id: Annotated[
        str,
        Meta(
            max_length=255,
            description="Project of the credentials with which the port was seen. Those of another "
            "project cannot tell that the port is gone.",
        ),
    ] = field(name="projectID", default="")
    region: Annotated[
        str,
        Meta(max_length=255, description="Region in which the port was seen, if it has a name."),
    ] = ""


class AppliedSettings(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Settings of the pool's spec.ports that the operator gave the port, or may have.

    They are recorded before the call, and until the port is seen without them. Once the pool no
    longer wants one, the operator takes it off the port; those of others it leaves alone.
    """

    port_tags: Annotated[
        tuple[PortTag, ...], Meta(max_length=MOST_APPLIED, description="Tags, sorted.")
    ] = ()
    qos_policy_ids: Annotated[
        tuple[Id, ...],
        Meta(max_length=MOST_APPLIED_POLICIES, description="Ids of QoS policies, sorted."),
    ] = field(name="qosPolicyIDs", default=())


class RetireAnswer(Struct, frozen=True, rename="camel"):
    """The agent's answer about one address of spec.retiring."""

    address: Annotated[Address, Meta(description="An address of spec.retiring.")]
    generation: Annotated[
        Generation, Meta(description="The ENI's metadata.generation that the agent answers.")
    ]


class NodeStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The ENI as its node's agent last saw it; written by the agent."""

    mac_address: Annotated[
        str,
        Meta(
            max_length=17,
            description="MAC address of the port that GuestPrepared and LinkReady are about. The "
            "operator does not take them for another port's. Absent: there is no port.",
        ),
    ] = ""
    device: Annotated[
        str,
        Meta(
            max_length=15,
            description="Name of the NIC on the node, such as ens7. Absent: it is not found yet.",
        ),
    ] = ""
    ifindex: Annotated[Count, Meta(description="Interface index of the NIC on the node.")] = 0
    granted: Annotated[
        int,
        Meta(
            ge=0,
            le=MOST_PODS,
            description="Addresses that pods have, counted in pods: one of each IP family is one.",
        ),
    ] = 0
    cooling: Annotated[
        int,
        Meta(ge=0, le=MOST_PODS, description="Addresses that cool down, counted in pods."),
    ] = 0
    available: Annotated[
        int,
        Meta(ge=0, le=MOST_PODS, description="Addresses free for the next pods, counted in pods."),
    ] = 0
    idle_since: Annotated[
        str,
        Meta(
            max_length=20,
            pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$",
            description="Time since which no pod has had an address, RFC 3339 in UTC with whole "
            "seconds. Absent while a pod has one.",
            extra_json_schema={"format": "date-time"},
        ),
    ] = ""
    retired: Annotated[
        tuple[RetireAnswer, ...],
        Meta(
            max_length=MOST_ADDRESSES,
            description="Addresses that no pod has and that the agent does not grant while "
            "spec.retiring lists them. An entry counts only at the ENI's current generation.",
        ),
    ] = ()
    refused: Annotated[
        tuple[RetireAnswer, ...],
        Meta(max_length=MOST_ADDRESSES, description="Addresses that a pod has: they stay."),
    ] = ()


class ENIStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The observed state; each part is written by one component."""

    conditions: Annotated[
        tuple[Condition, ...],
        Meta(
            max_length=MOST_CONDITIONS,
            description="PortReady, Attached, Sized, UpToDate and Ready by the operator; "
            "GuestPrepared, LinkReady, GatewayReachable and CNIConfigured by the agent.",
        ),
    ] = ()
    port: PortStatus | None = None
    applied: AppliedSettings | None = None
    node: NodeStatus | None = None
