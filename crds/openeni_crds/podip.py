"""PodIP: the record of one grant, named after its pod. Namespaced, written by the node's agent."""

from typing import Annotated, Final

from msgspec import Meta, Struct, field

from openeni_crds.conditions import MOST_CONDITIONS, Condition, Reason, Type, find
from openeni_crds.datapath_mode import DatapathMode
from openeni_crds.meta import Address, Name, ObjectMeta, decodable, seconds
from openeni_crds.names import LABEL_RETAINED

DELETE: Final = "Delete"  # values of spec.retention, besides durations
FOREVER: Final = "Forever"
MAX_CONTAINER_ID: Final = 128  # characters


class PodIPSpec(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The addresses that the pod has, and where they come from.

    Only `containerID` changes, and where a PodIP outlives its pod, `nodeName` and `eniName`.
    """

    pod_uid: Annotated[
        str, Meta(min_length=1, max_length=64, description="UID of the pod of this name.")
    ] = field(name="podUID")
    node_name: Annotated[
        Name, Meta(description="Node that the pod runs on, or ran on last, or waits on.")
    ]
    container_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_CONTAINER_ID,
            description="The pod's sandbox, as the container runtime names it to CNI.",
        ),
    ] = field(name="containerID")
    pool_name: Annotated[Name, Meta(description="ENIPool that the pod's address was taken from.")]
    datapath_mode: Annotated[
        DatapathMode,
        Meta(description="The pod's datapath in one word: the pool's mode and ipvlan.mode."),
    ]
    eni_name: Annotated[
        str,
        Meta(
            max_length=253,
            description="ENI whose port has the addresses, or shall have them. Absent: the pod "
            "waits for them, or they are to leave the node.",
        ),
    ] = ""
    retention: Annotated[
        str,
        Meta(
            max_length=32,
            description="How long the addresses are kept for the next pod of this name once the "
            "pod has gone: Delete (not at all), a duration such as 1h, or Forever (until this "
            "object is deleted). From the pod's annotation openeni.io/sticky.",
        ),
    ] = DELETE
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
            description="Assigned, DatapathReady and Ready by the agent; AddressLost, Retained and "
            "Placed by the operator.",
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
    """The addresses of the pod of the same name.

    Deleting it frees nothing as long as the pod exists. Where it outlives its pod, deleting it
    releases the addresses.
    """

    metadata: ObjectMeta
    spec: PodIPSpec
    status: PodIPStatus = PodIPStatus()

    @property
    def name(self) -> Name:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def key(self) -> str:
        """Return `namespace/name`, of its pod, too."""
        return f"{self.namespace}/{self.name}"

    @property
    def placed(self) -> Condition | None:
        """Return the operator's word on where the addresses are for a pod that asks for them."""
        return find(self.status.conditions, Type.PLACED)

    @property
    def is_retained(self) -> bool:
        """Return True if its addresses are kept when the pod has gone."""
        return self.spec.retention != DELETE

    @property
    def is_watched(self) -> bool:
        """Return True if the operator looks after it: it outlives its pod, or was asked for."""
        return LABEL_RETAINED in self.metadata.labels

    @property
    def was_granted(self) -> bool:
        """Return True if a pod of its name has, or had, the addresses.

        An agent names their ENI when it publishes a grant, and its conditions after that. The
        operator names one for a pod that waits, too.
        """
        built = find(self.status.conditions, Type.DATAPATH_READY)
        if built is None:
            return bool(self.spec.eni_name)
        return built.reason != Reason.WAITING_FOR_ADDRESS

    @property
    def is_granted(self) -> bool:
        """Return True if it says that a pod has the addresses, which may be over."""
        built = find(self.status.conditions, Type.DATAPATH_READY)
        return self.was_granted and not (built and built.reason == Reason.RETAINED)

    @property
    def retention_seconds(self) -> float | None:
        """Return how long it outlives its pod; None: until somebody deletes it."""
        if self.spec.retention == DELETE:
            return 0.0
        return None if self.spec.retention == FOREVER else float(seconds(self.spec.retention))
