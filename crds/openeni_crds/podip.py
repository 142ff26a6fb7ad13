"""PodIP: the record of one grant, named after its pod. Namespaced, written by the node's agent."""

from typing import Annotated

from msgspec import Meta, Struct, field

from openeni_crds.conditions import Condition
from openeni_crds.meta import Address, Name, ObjectMeta


class PodIPSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    pod_uid: Annotated[str, Meta(min_length=1, max_length=64)] = field(name="podUID")
    node_name: Name
    container_id: Annotated[str, Meta(min_length=1, max_length=128)] = field(name="containerID")
    eni: Name
    addresses: Annotated[
        tuple[Address, ...], Meta(min_length=1, max_length=2, description="One a family.")
    ]
    mode: Annotated[str, Meta(max_length=16, pattern="^(Veth|IPVlanL2|IPVlanL3S|IPVlanL3)$")]
    retention: Annotated[
        str,
        Meta(
            max_length=32,
            pattern=r"^(Delete|Forever|([0-9]+(s|m|h))+)$",
            description="What becomes of the address when its pod has gone.",
        ),
    ] = "Delete"


class PodIPStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    conditions: Annotated[tuple[Condition, ...], Meta(max_length=8)] = ()
    host_interface: Annotated[str, Meta(max_length=15)] = ""
    pod_interface: Annotated[str, Meta(max_length=15)] = ""
    gateway: Annotated[str, Meta(max_length=45)] = ""


class PodIP(Struct, frozen=True, rename="camel", omit_defaults=True):
    metadata: ObjectMeta
    spec: PodIPSpec
    status: PodIPStatus = PodIPStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace
