"""PodIP: the record of one grant, named after its pod. Namespaced, written by the node's agent."""

from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.conditions import Condition
from openeni_crds.meta import Address, Name, ObjectMeta, decodable


class PodIPSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """Which address the pod has, and from where."""

    pod_uid: Annotated[str, Meta(min_length=1, max_length=64, description="UID of the pod.")] = (
        field(name="podUID")
    )
    node_name: Annotated[Name, Meta(description="Node of the pod.")]
    container_id: Annotated[
        str, Meta(min_length=1, max_length=128, description="The pod's sandbox, as CNI names it.")
    ] = field(name="containerID")
    eni: Annotated[Name, Meta(description="ENI that the addresses are on.")]
    addresses: Annotated[
        tuple[Address, ...], Meta(min_length=1, max_length=2, description="One a family.")
    ]
    mode: Annotated[
        str,
        Meta(
            max_length=16,
            pattern="^(Veth|IPVlanL2|IPVlanL3S|IPVlanL3)$",
            description="The pod's datapath: Veth, IPVlanL2, IPVlanL3S or IPVlanL3.",
        ),
    ]
    retention: Annotated[
        str,
        Meta(
            max_length=32,
            pattern=r"^(Delete|Forever|([0-9]+(s|m|h))+)$",
            description="What becomes of the address when its pod has gone: Delete, a duration "
            "that it is kept for (at most 8760h), Forever.",
        ),
    ] = "Delete"


class PodIPStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is. Owned by the node's agent, but for the condition AddressLost."""

    conditions: Annotated[
        tuple[Condition, ...],
        Meta(
            max_length=8,
            description="Assigned, DatapathReady, Ready (agent); AddressLost (operator).",
        ),
    ] = ()
    host_interface: Annotated[
        str, Meta(max_length=15, description="The node's end of the pod's link; absent in ipvlan.")
    ] = ""
    pod_interface: Annotated[str, Meta(max_length=15, description="The pod's link.")] = ""
    gateway: Annotated[str, Meta(max_length=45, description="The pod's next hop, if any.")] = ""


@decodable
class PodIP(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The addresses of one pod; it has the pod's name. Written by the node's agent."""

    metadata: ObjectMeta
    spec: PodIPSpec
    status: PodIPStatus = PodIPStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace
