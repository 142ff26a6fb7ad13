"""The axes of the support table: modes, stacks and families, proxies, kinds of traffic."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode


class Proxy(StrEnum):
    """What translates the addresses of services on the node: kube-proxy's modes, or nothing."""

    NFTABLES = "nftables"
    IPTABLES = "iptables"
    IPVS = "ipvs"
    NONE = "none"


class Traffic(StrEnum):
    TCP = "TCP"
    UDP = "UDP"
    ECHO = "ICMP echo"
    FULL = "MTU size, DF"  # a datagram as long as the pod's MTU, and its answer
    FRAGMENTS = "fragments"  # a datagram of several packets, and its answer
    BULK = "bulk TCP"  # both ways, in segments that the links' offload makes (GSO)
    ERROR = "ICMP error"  # a closed port's, which must reach the client's socket
    PATH_MTU = "path MTU"  # datagrams with DF that are too long, until one is not


@dataclass(frozen=True, slots=True)
class Stack:
    """The families that a pod has addresses of."""

    name: str
    families: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A family of the packets, and the stack of the pods that send or receive them."""

    name: str
    stack: Stack
    family: int


MODES: Final = (
    Datapath(Mode.VETH),
    *(
        Datapath(Mode.IPVLAN, IPVlanDatapath(mode))
        for mode in (IPVlanMode.L2, IPVlanMode.L3S, IPVlanMode.L3)
    ),
)
IPV4: Final = Stack("IPv4", (4,))
IPV6: Final = Stack("IPv6", (6,))
DUAL: Final = Stack("dual-stack", (4, 6))
STACKS: Final = (IPV4, IPV6, DUAL)
COLUMNS: Final = (
    Column("IPv4", IPV4, 4),
    Column("IPv6", IPV6, 6),
    Column("dual-stack, IPv4", DUAL, 4),
    Column("dual-stack, IPv6", DUAL, 6),
)
