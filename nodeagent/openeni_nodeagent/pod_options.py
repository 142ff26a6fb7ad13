"""Describe what a pod asks of its network besides addresses: host ports and bandwidth. Pure.

The container runtime passes them with ADD (`cni/runtime_config`), and the journal keeps them with
the pod's grant.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from openeni_crds.datapath_mode import DatapathMode
from openeni_nodeagent.addresses import IPV4, IPV6, family_of

# A hostIP that is no single address: those of one family, and what each stands for
EVERY_OF_FAMILY: Final = {IPV4: "0.0.0.0", IPV6: "::"}  # noqa: S104 - of a pod
EVERY_ADDRESS: Final = {"": {IPV4, IPV6}} | {ip: {f} for f, ip in EVERY_OF_FAMILY.items()}


class Transport(StrEnum):
    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the node that leads to a port of the pod."""

    host_port: int
    container_port: int
    transport: Transport
    host_ip: str = ""  # "": every address of the node; 0.0.0.0 and ::, every one of their family

    @property
    def families(self) -> frozenset[int]:
        return frozenset(EVERY_ADDRESS.get(self.host_ip) or {family_of(self.host_ip)})

    @property
    def is_of_every_address(self) -> bool:
        return self.host_ip in EVERY_ADDRESS

    def __str__(self) -> str:
        port = f"{self.host_port}/{self.transport}"
        return f"{port} of {self.host_ip}" if self.host_ip else port


@dataclass(frozen=True, slots=True)
class RateLimit:
    rate: int  # bits per second
    burst: int  # bits


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """The limits of a pod, seen from the pod; None where there is none."""

    ingress: RateLimit | None = None
    egress: RateLimit | None = None


UNLIMITED: Final = Bandwidth()


def first_of_each(mappings: Iterable[PortMapping]) -> tuple[PortMapping, ...]:
    """Return what the mappings of a pod lead to: of several for the same packets, the first.

    The API server takes a port twice, with another hostIP that means the same or of a sidecar.
    The rules of containernetworking/plugins' portmap are in the order of the entries, and the first
    that a packet matches ends its way.
    """
    seen = set[tuple[int, Transport, int, str]]()
    found: list[PortMapping] = []
    for mapping in mappings:
        host_ip = "" if mapping.is_of_every_address else mapping.host_ip
        places = {(mapping.host_port, mapping.transport, f, host_ip) for f in mapping.families}
        left = places - seen
        if left == places:
            found.append(mapping)
        else:  # if anything is left, one family of two
            found += (replace(mapping, host_ip=EVERY_OF_FAMILY[f]) for _, _, f, _ in left)
        seen |= places
    return tuple(found)


def unenforced(bandwidth: Bandwidth, mode: str) -> str:
    """Return which limit the pod's datapath mode does not enforce, and why; "" if it does all.

    What enters an ENI goes to the slaves of all its pods without passing a queue of one of them;
    the kernel has no place where one pod's could wait.
    """
    if bandwidth.ingress is None or mode == DatapathMode.VETH:
        return ""
    return (
        f"the pod's ingress bandwidth is not limited: {mode} pods share their ENI, which has no "
        "queue for each pod; use an ENIPool with mode Veth (the egress limit is enforced in "
        "every mode)"
    )
