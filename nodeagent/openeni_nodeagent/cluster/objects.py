"""The parts of Kubernetes' own objects that the agent reads."""

from msgspec import Struct, field

from openeni_crds.meta import ObjectMeta, decodable


class PodAddress(Struct, frozen=True):
    ip: str = ""


class PodStatus(Struct, frozen=True, rename="camel"):
    pod_ips: tuple[PodAddress, ...] = ()


@decodable
class Pod(Struct, frozen=True):
    metadata: ObjectMeta
    status: PodStatus = PodStatus()


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
