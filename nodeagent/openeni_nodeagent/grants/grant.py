"""Grants: which container has which addresses, as the journal keeps them."""

from msgspec import Struct

from openeni_crds.podip import DELETE
from openeni_nodeagent.pod_options import UNLIMITED, Bandwidth, PortMapping


def pod_key(namespace: str, name: str) -> str:
    """Return the key of a pod and its PodIP."""
    return f"{namespace}/{name}"


class Attachment(Struct, frozen=True):
    """One interface of one container (sandbox) of one pod: CNI's attachment."""

    pod_uid: str
    container_id: str
    interface: str


class Grant(Struct, frozen=True):
    """One attachment's addresses, one for each family, all of one ENI."""

    attachment: Attachment
    namespace: str  # of the pod, for its PodIP
    name: str
    netns: str  # path of the pod's network namespace; "" if only the runtime knows it
    eni: str
    pool: str
    addresses: tuple[str, ...]
    datapath_mode: str  # Datapath.word
    mtu: int  # bytes, of the pod's interface
    at: float  # when it was made
    cool_down: float  # of its addresses, in seconds
    assumed: bool = False  # the pod's pool was unknown and assumed
    connected: bool = False  # the datapath has been built
    host_interface: str = ""
    gateway: tuple[str, ...] = ()
    netns_id: tuple[int, int] | None = None  # device and inode of what `netns` led to
    api_uid: str = ""  # of the pod's object, where the runtime has another: a static pod's
    port: str = ""  # ID of the ENI's port
    retention: str = DELETE  # of its PodIP
    requested: bool = False  # its pod asked for the address by name
    host_ports: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth = UNLIMITED
    cooling_until: float = 0.0  # its addresses, had it not been made; 0.0 if they had cooled down
    asked_at: float = 0.0  # when the last ADD came that has connected it; 0.0 if unknown

    @property
    def key(self) -> tuple[str, str]:
        """Container ID and interface, which has one grant at a time."""
        return self.attachment.container_id, self.attachment.interface

    @property
    def pod_key(self) -> str:
        return pod_key(self.namespace, self.name)
