"""PodIP: the record of one grant, named after its pod. Namespaced, written by the node's agent."""

from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.conditions import MOST_CONDITIONS, Condition
from openeni_crds.datapath_mode import DatapathMode
from openeni_crds.meta import Address, Name, ObjectMeta, decodable


class PodIPSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The addresses that the pod has, and where they come from. Only `containerID` changes."""

    pod_uid: Annotated[
        str, Meta(min_length=1, max_length=64, description="UID of the pod of this name.")
    ] = field(name="podUID")
    node_name: Annotated[Name, Meta(description="Node that the pod runs on.")]
    container_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=128,
            description="The pod's sandbox, as the container runtime names it to CNI.",
        ),
    ] = field(name="containerID")
    eni_name: Annotated[Name, Meta(description="ENI whose port has the addresses.")]
    pool_name: Annotated[Name, Meta(description="ENIPool that the pod's address was taken from.")]
    datapath_mode: Annotated[
        DatapathMode,
        Meta(description="The pod's datapath in one word: the pool's mode and ipvlan.mode."),
    ]
    address: Annotated[
        Address | None, Meta(description="IPv4 address of the pod. Absent: it has none.")
    ] = None
    address_ipv6: Annotated[
        Address | None, Meta(description="IPv6 address of the pod. Absent: it has none.")
    ] = field(name="addressIPv6", default=None)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Return the pod's addresses, IPv4 first."""
        return tuple(a for a in (self.address, self.address_ipv6) if a is not None)


class PodIPStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The observed state; written by the agent, but for the condition AddressLost."""

    conditions: Annotated[
        tuple[Condition, ...],
        Meta(
            max_length=MOST_CONDITIONS,
            description="Assigned, DatapathReady and Ready by the agent; AddressLost by the "
            "operator.",
        ),
    ] = ()
    host_interface: Annotated[
        str,
        Meta(
            max_length=15,
            description="The node's end of the pod's veth pair. Absent in ipvlan modes.",
        ),
    ] = ""
    pod_interface: Annotated[
        str, Meta(max_length=15, description="The pod's link, such as eth0.")
    ] = ""
    gateway: Annotated[
        str,
        Meta(
            max_length=45,
            description="Next hop of the pod's default route. Absent where it needs none.",
        ),
    ] = ""


@decodable
class PodIP(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The addresses of the pod of the same name. Deleting it frees nothing: delete the pod."""

    metadata: ObjectMeta
    spec: PodIPSpec
    status: PodIPStatus = PodIPStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace
