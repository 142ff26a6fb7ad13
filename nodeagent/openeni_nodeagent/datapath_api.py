"""The interface between the agent and the datapath.

The agent decides which pod gets which address of which ENI; the datapath configures the kernel.
This module is their whole interface: frozen facts in one direction, observations and four errors in
the other. So the agent can be tested without a kernel, and the datapath without a cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from openeni_crds.eni import PortSubnet
from openeni_crds.enipool import Datapath


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Facts of the node that do not depend on its ENIs; both families, in any order."""

    addresses: tuple[str, ...]  # InternalIPs; those that no link has are ignored
    service_cidrs: tuple[str, ...] = ()
    local_dns: tuple[str, ...] = ()  # addresses of a node-local DNS, 169.254.20.10 style


@dataclass(frozen=True, slots=True)
class ENIFacts:
    """One ENI as ENI.spec and ENI.status.port show it."""

    name: str
    mac: str
    mtu: int  # bytes, of the Neutron network
    datapath: Datapath
    primary: tuple[str, ...]  # primary addresses, one for each family
    subnets: tuple[PortSubnet, ...]  # one for each family


@dataclass(frozen=True, slots=True)
class PodInterface:
    """One interface of a pod, with the addresses granted to it."""

    pod_uid: str
    container_id: str  # of the sandbox; the name of the host's end is derived from it
    interface: str  # in the pod, as the runtime asks for it: "eth0"
    addresses: tuple[str, ...]  # one for each family
    mtu: int  # bytes
    eni: ENIFacts


@dataclass(frozen=True, slots=True)
class LinkFacts:
    """The NIC of an ENI on the node."""

    device: str
    ifindex: int


@dataclass(frozen=True, slots=True)
class PodRoute:
    """A route in the pod, as the CNI result lists it."""

    destination: str  # CIDR
    gateway: str = ""  # "" if the destination is on-link


@dataclass(frozen=True, slots=True)
class PodNetwork:
    """The result of `add`, for the CNI result, the PodIP and `openeni phases`."""

    host_interface: str  # the host's end of the veth pair, or the host's slave
    host_mac: str
    pod_mac: str
    gateway: tuple[str, ...]  # one for each family; empty in l3s and l3, which need none
    routes: tuple[PodRoute, ...]
    phases: Mapping[str, float]  # seconds: "plan", "node", "namespace", "pod", "announce"


class DatapathError(Exception):
    """The datapath cannot do what was asked; the text has the cause and the way out."""


class NICMissingError(DatapathError):
    """No NIC on this node has the ENI's MAC: not attached yet, or detached."""


class ModeUnsupportedError(DatapathError):
    """This kernel does not support the pool's mode."""


class NamespaceGoneError(DatapathError):
    """The pod's network namespace no longer exists: the runtime has ended the sandbox."""


class KernelRefusedError(DatapathError):
    """The kernel refused an operation; the text has the operation and the errno's name."""


class NodeDatapath(Protocol):
    """The datapath of one node.

    Synchronous and safe to call from several threads at once; calls for different pods do not
    wait for each other. Every method may raise KernelRefusedError. An ENIFacts passed to `add`,
    `check` or `delete` has been configured since the process started.
    """

    def datapath_modes(self) -> frozenset[str]:
        """Return the modes (Datapath.word) that this kernel supports; tried once."""
        ...

    def configure_node(self, node: NodeFacts) -> None:
        """Set the node's facts; call it again whenever they change.

        Rules and filters that ENIs share are added with the first ENI and removed with the last.
        """
        ...

    def configure_eni(self, eni: ENIFacts, node: NodeFacts) -> LinkFacts:
        """Configure the ENI's link for pods. Idempotent: only what differs is changed.

        Raises NICMissingError, ModeUnsupportedError.
        """
        ...

    def teardown_eni(self, eni: ENIFacts) -> None:
        """Undo configure_eni, so that the hypervisor can unplug the NIC; it may be gone already."""
        ...

    def add(self, pod: PodInterface, netns: str) -> PodNetwork:
        """Connect the namespace at path `netns`; completes what a crash left half-built.

        Raises NICMissingError, NamespaceGoneError. After an error nothing of the pod is left.
        """
        ...

    def check(self, pod: PodInterface, netns: str) -> tuple[str, ...]:
        """Return the differences between plan and kernel, one sentence each; () if healthy.

        Raises NamespaceGoneError.
        """
        ...

    def delete(self, pod: PodInterface, netns: str) -> None:
        """Undo `add`. Idempotent; with `netns` "" or gone, only the host's part."""
        ...

    def pods(self) -> Mapping[str, str]:
        """Return the addresses that have a route to a pod, with the route's device."""
        ...

    def delete_address(self, address: str) -> None:
        """Remove the host's part of a pod of which only the address is known. Idempotent."""
        ...
