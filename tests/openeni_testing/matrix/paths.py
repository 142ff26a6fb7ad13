"""The paths of the datapath's contract (docs/datapath.md), as data: who sends what to whom.

`world` has the machines and services that are named here.
"""

from dataclasses import dataclass
from typing import Final

from openeni_testing.matrix.axes import Traffic

# The ports of every server, in the order of Kubernetes' objects for it.
TCP_PORT: Final = 8080
UDP_PORT: Final = 53
BULK_PORT: Final = 5001
CLOSED_PORT: Final = 9  # UDP, nobody listens


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a machine; of the node, its primary NIC's."""

    server: str


@dataclass(frozen=True, slots=True)
class Service:
    """The ClusterIP of the service whose only backend this is."""

    server: str


@dataclass(frozen=True, slots=True)
class LateService:
    """A ClusterIP of a network that the cluster has had only since after the pods were there.

    It is a part of the pods' own subnet, which l2 pods would otherwise reach directly.
    """

    server: str


@dataclass(frozen=True, slots=True)
class NodePort:
    """A NodePort, at the node's address."""

    server: str
    local: bool = False  # externalTrafficPolicy: Local


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host port of a pod, at the node's address."""

    server: str


@dataclass(frozen=True, slots=True)
class LocalDNS:
    """An address on the node like that of a node-local DNS."""

    server: str = "node"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata service, 169.254.169.254 or fe80::a9fe:a9fe."""

    server: str = "fabric"


Target = Address | Service | LateService | NodePort | HostPort | LocalDNS | Metadata


@dataclass(frozen=True, slots=True)
class Path:
    """A path that packets of these kinds take."""

    name: str
    client: str
    target: Target
    traffic: tuple[Traffic, ...]
    keeps_client: bool = False  # the server must see the client's own address

    @property
    def server(self) -> str:
        return self.target.server

    @property
    def needs_proxy(self) -> bool:
        """True if the target is an address that only a service has."""
        return isinstance(self.target, Service | LateService | NodePort)


_TRANSPORTS: Final = (Traffic.TCP, Traffic.UDP)
_SIZES: Final = (Traffic.FULL, Traffic.FRAGMENTS, Traffic.BULK, Traffic.ERROR)
_DIRECT: Final = (*_TRANSPORTS, Traffic.ECHO, *_SIZES)
_TRANSLATED: Final = (*_TRANSPORTS, *_SIZES)
# From where the links are wider than a pod's, or through a router whose next link is narrower.
_WIDE: Final = (*_TRANSLATED, Traffic.PATH_MTU)
_NARROW: Final = (*_TRANSPORTS, Traffic.FRAGMENTS, Traffic.BULK, Traffic.ERROR, Traffic.PATH_MTU)


def _direct(name: str, client: str, server: str) -> Path:
    return Path(name, client, Address(server), _DIRECT, keeps_client=True)


PATHS: Final = (
    _direct("pod to pod, same ENI", "a1", "a2"),
    _direct("pod to pod, other ENI", "a1", "b1"),
    _direct("pod to pod, other ENI in another subnet", "a1", "d1"),
    _direct("pod in another subnet to pod", "d1", "a1"),
    _direct("pod to pod, other node", "a1", "c1"),
    _direct("pod of another node to pod", "c1", "a1"),
    _direct("node to pod", "node", "a1"),
    _direct("node to pod in another subnet", "node", "d1"),
    _direct("pod to node", "a1", "node"),
    _direct("pod to the other node", "a1", "other"),
    _direct("pod to remote VM", "a1", "remote"),
    _direct("remote VM to pod", "remote", "a1"),
    _direct("pod to gateway", "a1", "fabric"),
    _direct("pod to outside", "a1", "outside"),
    Path(
        "outside to pod",
        "outside",
        Address("a1"),
        (*_DIRECT, Traffic.PATH_MTU),
        keeps_client=True,
    ),
    Path("pod to beyond a narrow router", "a1", Address("far"), _NARROW, keeps_client=True),
    Path("beyond a narrow router to pod", "far", Address("a1"), _NARROW, keeps_client=True),
    Path("pod to ClusterIP, same ENI", "a1", Service("a2"), _TRANSLATED),
    Path("pod to ClusterIP, itself", "a1", Service("a1"), _TRANSLATED),
    Path("pod to ClusterIP, other ENI", "a1", Service("b1"), _TRANSLATED),
    Path("pod to ClusterIP, other subnet", "a1", Service("d1"), _TRANSLATED),
    Path("pod to ClusterIP, other node", "a1", Service("c1"), _TRANSLATED),
    Path("pod to ClusterIP, remote VM", "a1", Service("remote"), _TRANSLATED),
    Path("pod to ClusterIP, the node itself", "a1", Service("node"), _TRANSLATED),
    Path("pod to ClusterIP, beyond a narrow router", "a1", Service("far"), _NARROW),
    Path("pod to ClusterIP of a late ServiceCIDR", "a1", LateService("c1"), _TRANSLATED),
    Path("node to ClusterIP, local pod", "node", Service("a1"), _TRANSLATED),
    Path("node to ClusterIP, other node", "node", Service("c1"), _TRANSLATED),
    Path("outside to NodePort", "outside", NodePort("a1"), _WIDE),
    Path("outside to NodePort, pod of another node", "outside", NodePort("c1"), _WIDE),
    Path(
        "outside to NodePort, Local",
        "outside",
        NodePort("a1", local=True),
        _WIDE,
        keeps_client=True,
    ),
    Path(
        "outside to NodePort, Local, no local pod",
        "outside",
        NodePort("c1", local=True),
        _TRANSPORTS,
    ),
    Path("beyond a narrow router to NodePort", "far", NodePort("a1"), _NARROW),
    Path(
        "beyond a narrow router to NodePort, Local",
        "far",
        NodePort("a1", local=True),
        _NARROW,
        keeps_client=True,
    ),
    Path("VM of the pods' subnet to NodePort", "remote", NodePort("a1"), _TRANSLATED),
    Path("VM of the pods' subnet to NodePort, Local", "remote", NodePort("a1", True), _TRANSLATED),
    Path("pod to NodePort, same ENI", "a2", NodePort("a1"), _TRANSLATED),
    Path("pod to NodePort, itself", "a1", NodePort("a1"), _TRANSLATED),
    Path("pod to NodePort, other ENI", "b1", NodePort("a1"), _TRANSLATED),
    Path("pod to NodePort, other node", "c1", NodePort("a1"), _TRANSLATED),
    Path("node to NodePort", "node", NodePort("a1"), _TRANSLATED),
    Path("outside to hostPort", "outside", HostPort("a1"), _WIDE, keeps_client=True),
    Path("beyond a narrow router to hostPort", "far", HostPort("a1"), _NARROW, keeps_client=True),
    Path("VM of the pods' subnet to hostPort", "remote", HostPort("a1"), _TRANSLATED),
    Path("node to hostPort", "node", HostPort("a1"), _TRANSLATED),
    Path("pod to hostPort, same ENI", "a2", HostPort("a1"), _TRANSLATED),
    Path("pod to hostPort, itself", "a1", HostPort("a1"), _TRANSLATED),
    Path("pod to hostPort, other ENI", "b1", HostPort("a1"), _TRANSLATED),
    Path("pod to hostPort, other node", "c1", HostPort("a1"), _TRANSLATED),
    Path("pod to node-local DNS", "a1", LocalDNS(), _DIRECT, keeps_client=True),
    Path("pod to metadata service", "a1", Metadata(), (*_TRANSPORTS, Traffic.ECHO)),
)
