"""All that creates a pod's datapath, as it is sent to the kernel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from openeni_nodeagent.datapath.diff import diff, is_link_creation
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.linux import nfnetlink
from openeni_nodeagent.datapath.linux.rtnetlink_encode import create_link, encode
from openeni_nodeagent.datapath.model import (
    NOTHING,
    Element,
    FlowtableLink,
    Link,
    Operation,
    Sysctl,
)
from openeni_nodeagent.datapath.plan import plan_pod


@dataclass(frozen=True, slots=True)
class PodMessages:
    """In the order in which the kernel gets them."""

    creation: bytes  # of a pair, or of a slave, with an end in the pod's namespace
    host_sysctls: tuple[Sysctl, ...]
    host: tuple[bytes, ...]  # of rtnetlink, on the node
    members: tuple[bytes, ...]  # of one transaction of nftables; () without any
    pod_sysctls: tuple[Sysctl, ...]
    pod: tuple[bytes, ...]  # of rtnetlink, in the pod's namespace

    def in_any_order(self) -> "PodMessages":
        """Return them sorted: a plan is a set, so its items of one kind come in any order."""
        return PodMessages(
            self.creation,
            tuple(sorted(self.host_sysctls, key=_path)),
            tuple(sorted(self.host)),
            tuple(sorted(self.members)),
            tuple(sorted(self.pod_sysctls, key=_path)),
            tuple(sorted(self.pod)),
        )


def encode_creation(operations: Sequence[Operation], namespace: int) -> bytes:
    """Encode the creation of a veth pair, host's end first, or of one slave, in the namespace."""
    host_link, *peer = (o.item for o in operations if isinstance(o.item, Link))
    return create_link(host_link, peer=peer[0] if peer else None, namespace=namespace)


def encode_pod(pod: NodePod, namespace: int) -> PodMessages:
    """Plan a pod without host ports and limits, and encode it for the namespace's descriptor."""
    planned = plan_pod(pod)
    on_host, in_pod = diff(NOTHING, planned.host), diff(NOTHING, planned.pod)
    links = [o for o in (*on_host, *in_pod) if is_link_creation(o)]
    members = [o for o in on_host if isinstance(o.item, Element)]
    return PodMessages(
        encode_creation(links, namespace),
        tuple(_sysctls(on_host)),
        tuple(_requests(on_host)),
        tuple(nfnetlink.batch(members)) if members else (),
        tuple(_sysctls(in_pod)),
        tuple(_requests(in_pod)),
    )


def _sysctls(operations: Sequence[Operation]) -> Iterator[Sysctl]:
    return (o.item for o in operations if isinstance(o.item, Sysctl))


def _path(sysctl: Sysctl) -> str:
    return sysctl.path


def _requests(operations: Sequence[Operation]) -> Iterator[bytes]:
    """Yield the requests of rtnetlink; the links are there by then."""
    others = Sysctl | Element | FlowtableLink
    for operation in operations:
        if not (isinstance(operation.item, others) or is_link_creation(operation)):
            yield encode(operation)
