"""What the agent and its datapath say to each other.

The agent decides which pod gets which address of which ENI; the datapath makes the kernel carry
it. This module is their whole border: frozen facts down, observations and four errors up, so that
the agent's decisions can be tried without a kernel and the datapath without a cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from openeni_crds.eni import PortSubnet
from openeni_crds.enipool import Datapath


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What is true of the node, whatever its ENIs: all of either family, in any order."""

    addresses: tuple[str, ...]  # InternalIPs; those that no link of the node has are ignored
    service_cidrs: tuple[str, ...] = ()
    local_dns: tuple[str, ...] = ()  # addresses of a node-local DNS, 169.254.20.10 style


@dataclass(frozen=True, slots=True)
class EniFacts:
    """One ENI as ENI.spec and ENI.status.port show it."""

    name: str
    mac: str
    mtu: int  # bytes, of the Neutron network
    datapath: Datapath
    primary: tuple[str, ...]  # its own address, one a family; no pod's
    subnets: tuple[PortSubnet, ...]  # one a family


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod interface and the addresses granted to it. An address has one pod at any time."""

    pod_uid: str
    container_id: str  # of the sandbox; names the node's end of the link
    interface: str  # in the pod, as the runtime asks for it: "eth0"
    addresses: tuple[str, ...]  # one a family
    mtu: int  # bytes
    eni: EniFacts


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """Where an ENI was found on the node."""

    device: str
    ifindex: int


@dataclass(frozen=True, slots=True)
class PodRoute:
    """A route in the pod, as the CNI result lists it."""

    destination: str  # CIDR
    gateway: str = ""  # "" where the destination is on the link


@dataclass(frozen=True, slots=True)
class Wired:
    """What an ADD made, for the CNI result and for the phases that metrics show."""

    host_interface: str  # the node's device the pod hangs on: its veth end, or the host-side slave
    host_mac: str
    pod_mac: str
    gateway: tuple[str, ...]  # one a family; empty in l3s and l3, which need none
    routes: tuple[PodRoute, ...]
    phases: Mapping[str, float]  # seconds, in order: "plan", "namespace", "host", "pod"


class WiringError(Exception):
    """The datapath cannot do what was asked; the text says what is wrong and what to do."""


class NicMissingError(WiringError):
    """No NIC with the ENI's MAC on this node (yet, or any more)."""


class ModeUnsupportedError(WiringError):
    """This kernel cannot do the pool's mode."""


class NamespaceGoneError(WiringError):
    """The pod's network namespace is no longer there: the runtime has given the sandbox up."""


class KernelRefusedError(WiringError):
    """The kernel refused one operation: named, with the errno's name."""


class Wiring(Protocol):
    """The datapath of one node.

    Synchronous and safe to call from several threads at once; calls for different pods do not
    wait for each other. Every method may raise KernelRefusedError. An EniFacts passed to `add`,
    `check` or `delete` has been prepared since the process started.
    """

    def modes(self) -> frozenset[str]:
        """Labels (Datapath.word) of the modes that this kernel really can do; tried once."""
        ...

    def prepare_node(self, node: NodeFacts) -> None:
        """Take in the node's facts, again whenever they change.

        What all ENIs share, rules and filters, comes with the first of them and goes with the last.
        """
        ...

    def prepare_eni(self, eni: EniFacts, node: NodeFacts) -> LinkFacts:
        """Make the NIC carry pods. Idempotent: does nothing where nothing differs.

        Raises NicMissingError, ModeUnsupportedError.
        """
        ...

    def release_eni(self, eni: EniFacts) -> None:
        """Undo prepare_eni, so that the hypervisor can unplug the NIC. Done if it is gone."""
        ...

    def add(self, pod: PodFacts, netns: str) -> Wired:
        """Connect the namespace at path `netns`; what a crash left half-built is completed.

        Raises NicMissingError, NamespaceGoneError. After an error nothing of the pod is left.
        """
        ...

    def check(self, pod: PodFacts, netns: str) -> tuple[str, ...]:
        """Differences between what should be and what is, one sentence each; () is healthy.

        Raises NamespaceGoneError.
        """
        ...

    def delete(self, pod: PodFacts, netns: str) -> None:
        """Undo `add`. Idempotent; with `netns` "" or gone, the node's part alone."""
        ...

    def pods(self) -> Mapping[str, str]:
        """Addresses that the kernel has connected, and the node's device each hangs on."""
        ...

    def delete_address(self, address: str) -> None:
        """Undo the node's part of a pod of which only the address is known. Idempotent."""
        ...
