"""The interface between the agent and the datapath.

The agent decides which pod gets which address of which ENI; the datapath configures the kernel.
This module is their whole interface: frozen facts in one direction, observations and errors in the
other. So the agent can be tested without a kernel, and the datapath without a cluster.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, TypeAlias

from openeni_crds.enipool import Datapath
from openeni_crds.status.eni import PortSubnet
from openeni_nodeagent.pod_options import UNLIMITED, Bandwidth, PortMapping


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Facts of the node that do not depend on its ENIs; both families, in any order."""

    addresses: tuple[str, ...]  # InternalIPs; those that no link has are ignored
    service_cidrs: tuple[str, ...] = ()
    local_dns: tuple[str, ...] = ()  # addresses of a node-local DNS, 169.254.20.10 style
    flow_offload: bool = True  # in Veth, where the kernel has it

    def with_last_addresses(self, last: "NodeFacts | None") -> "NodeFacts":
        """Return these facts, or if the Node shows no address, with those that it showed last.

        kubelet registers a Node anew with its Hostname alone, where a cloud controller has to add
        the addresses (pkg/kubelet/nodestatus/setters.go, NodeAddress).
        """
        return self if self.addresses or last is None else replace(self, addresses=last.addresses)


@dataclass(frozen=True, slots=True)
class ENIFacts:
    """One ENI as ENI.spec and ENI.status.port show it."""

    name: str
    mac: str
    mtu: int  # bytes, of the Neutron network
    datapath: Datapath
    primary: tuple[str, ...]  # primary addresses, one for each family
    subnets: tuple[PortSubnet, ...]  # one for each family
    port: str = ""  # its ID in Neutron


@dataclass(frozen=True, slots=True)
class PodInterface:
    """One interface of a pod, with the addresses granted to it."""

    pod_uid: str
    container_id: str  # of the sandbox; the name of the host's end is derived from it
    interface: str  # in the pod, as the runtime asks for it: "eth0"
    addresses: tuple[str, ...]  # one for each family
    mtu: int  # bytes
    eni: ENIFacts
    host_ports: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth = UNLIMITED


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
    phases: Mapping[str, float]  # seconds: "plan", "node", "namespace", "pod"


class DatapathError(Exception):
    """The datapath cannot do what was asked; the text has the cause and the way out.

    `add` sets `left_behind` if it could not remove again what it had built, or does not know.
    """

    left_behind = False


class NICMissingError(DatapathError):
    """No NIC on this node has the ENI's MAC: not attached yet, or detached."""


class NoCarrierError(DatapathError):
    """The ENI is as planned, but its NIC has no carrier: nothing passes."""


class ModeUnsupportedError(DatapathError):
    """This kernel does not support the pool's mode."""


class NamespaceGoneError(DatapathError):
    """The pod's network namespace no longer exists: the runtime has ended the sandbox."""


class KernelRefusedError(DatapathError):
    """The kernel refused an operation; the text has the operation and the errno's name."""


class ProgramFailedError(KernelRefusedError):
    """A program that asks the kernel could not be run, or did not finish."""


@dataclass(frozen=True, slots=True)
class WantedPod:
    """A pod whose datapath has been built."""

    interface: PodInterface
    netns: str = ""  # path of its network namespace, which is looked into as well; "" if not
    turn: int = 0  # the order in which looks do so; from 1 on, where that has failed


@dataclass(frozen=True, slots=True)
class WantedNode:
    """Says what the node should have of openeni."""

    node: NodeFacts
    enis: tuple[ENIFacts, ...] = ()
    departing: tuple[ENIFacts, ...] = ()  # ENIs that openeni leaves, for Nova to detach them
    pods: tuple[WantedPod, ...] = ()  # of `enis`
    strays: frozenset[str] = frozenset()  # addresses that no pod has
    used_links: frozenset[str] = frozenset()  # names.host_link of grants, and of DELs
    complete: bool = True  # False: there may be other ENIs, of which nothing is removed


# The items of the datapath's model. "element" and "chain" are nftables'.
REPAIR_KINDS: Final = (
    "link",
    "address",
    "route",
    "rule",
    "neighbour",
    "sysctl",
    "element",
    "chain",
    "qdisc",
)


@dataclass(frozen=True, slots=True)
class Repair:
    """Something that was not as planned, and was put right or could not be."""

    kind: str  # one of REPAIR_KINDS
    text: str


@dataclass(frozen=True, slots=True)
class NodeReport:
    """Says what a reconcile of the node found last, after its repairs."""

    links: Mapping[str, LinkFacts] = field(default_factory=dict[str, LinkFacts])  # by ENI name
    errors: Mapping[str, DatapathError] = field(default_factory=dict[str, DatapathError])
    broken: frozenset[PodInterface] = frozenset()  # pods that must be built anew
    differing: Mapping[PodInterface, str] = field(default_factory=dict[PodInterface, str])
    repairs: tuple[Repair, ...] = ()
    left: str = ""  # why something that no pod and no ENI is to have is still there
    # Departing ENIs of which nothing is left, by name: True if their NIC is plugged, which is down.
    departed: Mapping[str, bool] = field(default_factory=dict[str, bool])
    disturbed: frozenset[PodInterface] = frozenset()  # pods that may have lost something inside
    # Pods whose own namespaces were looked into, with why that failed; "" if it did not.
    looked_into: Mapping[PodInterface, str] = field(default_factory=dict[PodInterface, str])
    not_offloaded: str = ""  # why flows do not bypass the stack as planned
    readdressed: bool = False  # the node's links have other addresses than pods were planned with


class NodeSnapshot(Protocol):
    """Says what the kernel had of openeni at one time."""

    @property
    def pods(self) -> Mapping[str, str]:
        """Addresses that the node has anything of a pod for; the device of a route there, or ""."""
        ...

    @property
    def host_ports(self) -> Mapping[str, tuple[PortMapping, ...]]:
        """The host ports that lead to each address, as far as it has any."""
        ...

    @property
    def nics(self) -> Mapping[str, int]:
        """The indexes of the NICs of the ENIs that were asked for, by MAC."""
        ...


# Keeps ADD and DEL off pods during a block; yields those that can be kept so and are still wanted.
Hold: TypeAlias = Callable[
    [Collection[PodInterface]], AbstractContextManager[frozenset[PodInterface]]
]


class NodeDatapath(Protocol):
    """The datapath of one node.

    Synchronous and safe to call from several threads at once; calls for different pods do not
    wait for each other, but for turns in the kernel. Every method may raise KernelRefusedError.
    """

    def datapath_modes(self) -> frozenset[str]:
        """Return the modes (Datapath.word) that this kernel supports now."""
        ...

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call `changed`, from another thread, whenever somebody else may have changed our part.

        In the network namespace of the calling thread, until `close`.
        """
        ...

    def close(self) -> None:
        """Close what is open; nothing in the kernel changes."""
        ...

    def observe(self, enis: Collection[ENIFacts], /) -> NodeSnapshot:
        """Look at the kernel's part of openeni, and at everybody's routes on these ENIs."""
        ...

    def reconcile(self, snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        """Bring the node to its plan, and look again if anything differed.

        The ENIs' part comes first, then that of pods, while `hold` keeps ADD and DEL off them.
        Whatever fails is in the report, by ENI or pod; nothing else waits for it.
        """
        ...

    def compare(self, snapshot: NodeSnapshot, wanted: WantedNode) -> NodeReport:
        """Return what `reconcile` would find; nothing is changed."""
        ...

    def forget_flows(self, addresses: Collection[str], /) -> None:
        """Have the next `reconcile` delete the conntrack entries of addresses that no pod has.

        Their pods had a DEL; the process may have ended before `finish_delete`.
        """
        ...

    def add(self, pod: PodInterface, netns: str, *, rebuilds: bool = False) -> PodNetwork:
        """Connect the namespace at path `netns`; completes what a crash left half-built.

        What is sent to the pod reaches it afterwards, unless that takes the kernel more than a
        second. What can wait until the answer has gone is left to `finish_add`. One that it
        `rebuilds` has no link that works: what the host has of it goes first, and nothing waits.

        Raises NICMissingError, NamespaceGoneError. After an error the kernel is as it was before,
        or has nothing of the pod, unless the error says `left_behind`.
        """
        ...

    def finish_add(self, pod: PodInterface) -> None:
        """Do what `add` has left: announce the pod's addresses in the subnet, offload its flows.

        Errors are ignored: neighbours resolve the addresses, and the next look offloads the flows.
        """
        ...

    def network(self, pod: PodInterface) -> PodNetwork:
        """Return what `add` returns for this pod, but for the phases; nothing is looked at.

        Raises NICMissingError.
        """
        ...

    def check(self, pod: PodInterface, netns: str) -> tuple[str, ...]:
        """Return the differences between plan and kernel, one sentence each; () if healthy.

        Raises NamespaceGoneError.
        """
        ...

    def delete(self, pod: PodInterface) -> None:
        """Undo `add` on the host, whether or not it is there; links stay, for `finish_delete`."""
        ...

    def finish_delete(self, pod: PodInterface, netns: str, kept: Collection[str] = ()) -> None:
        """Remove a pod's links after `delete`, if they are there, and its conntrack entries.

        `netns` is the path of its namespace, "" if there is none. Links there with an address that
        is `kept` are other pods', or other interfaces.
        """
        ...
