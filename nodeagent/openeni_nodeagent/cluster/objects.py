"""The parts of Kubernetes' own objects that the agent reads."""

from typing import Final

from msgspec import Struct, field

from openeni_crds.meta import ObjectMeta, decodable
from openeni_nodeagent.cluster.cache import by_name


class PodAddress(Struct, frozen=True):
    ip: str = ""


class PodStatus(Struct, frozen=True, rename="camel"):
    phase: str = ""
    pod_ips: tuple[PodAddress, ...] = ()


# kubelet pkg/kubelet/types: what a mirror pod, a static pod's object, shows of the static pod
_CONFIG_HASH: Final = "kubernetes.io/config.hash"
_CONFIG_MIRROR: Final = "kubernetes.io/config.mirror"


@decodable
class Pod(Struct, frozen=True):
    metadata: ObjectMeta
    status: PodStatus = PodStatus()

    @property
    def is_over(self) -> bool:
        """Return True if none of its containers runs again."""
        return self.status.phase in {"Succeeded", "Failed"}


def runtime_uid(meta: ObjectMeta) -> str:
    """Return the UID under which the container runtime knows a pod.

    kubelet gives a static pod the hash of its file as UID, and that to the runtime, and annotates
    the mirror pod with it, which has a UID of the API server (pkg/kubelet/config/common.go,
    pkg/kubelet/pod/mirror_client.go).
    """
    is_mirror = _CONFIG_MIRROR in meta.annotations
    return meta.annotations.get(_CONFIG_HASH, meta.uid) if is_mirror else meta.uid


def pod_with(uid: str, name: str) -> str:
    """Return the key of a pod in its cache; `uid` is its own or its runtime's.

    The name (namespace/name) is part of it: anybody can annotate a pod with the UID of a static
    pod, which is no secret, but not give it the name of another namespace's pod.
    """
    return f"{uid} {name}"


def by_own_uid(meta: ObjectMeta) -> str:
    return pod_with(meta.uid, by_name(meta))


def by_runtime_uid(meta: ObjectMeta) -> str:
    return pod_with(runtime_uid(meta), by_name(meta))


class NodeAddress(Struct, frozen=True):
    type: str
    address: str


class KubeNodeStatus(Struct, frozen=True):
    addresses: tuple[NodeAddress, ...] = ()


class NodeSpec(Struct, frozen=True):
    provider_id: str = field(name="providerID", default="")


@decodable
class Node(Struct, frozen=True):
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: KubeNodeStatus = KubeNodeStatus()


@decodable
class Namespace(Struct, frozen=True):
    metadata: ObjectMeta


class ServiceCIDRSpec(Struct, frozen=True):
    cidrs: tuple[str, ...] = ()


@decodable
class ServiceCIDR(Struct, frozen=True):
    metadata: ObjectMeta
    spec: ServiceCIDRSpec = ServiceCIDRSpec()
