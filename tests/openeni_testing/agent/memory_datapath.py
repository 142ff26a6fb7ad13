"""A NodeDatapath in memory, or in a file that outlives its process.

It behaves as `datapath_api.NodeDatapath` promises and refuses what a correct agent never does: give
one address to two pods, use an ENI before it was configured, leave an ENI that has a pod, call the
address of a pod with a datapath a stray.
"""

import fcntl
import json
import threading
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from openeni_nodeagent.addresses import IPV4, IPV6, family_of
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    Hold,
    KernelRefusedError,
    LinkFacts,
    NamespaceGoneError,
    NICMissingError,
    NodeFacts,
    NodeReport,
    NodeSnapshot,
    PodInterface,
    PodNetwork,
    PodRoute,
    Repair,
    WantedNode,
)
from openeni_nodeagent.pod_options import PortMapping

_Ports = tuple[PortMapping, ...]
ANY_ADDRESS: Final = {IPV4: "0.0.0.0", IPV6: "::"}  # noqa: S104 - of a host port
BUSY = "netlink: the kernel's tables change too fast to be read"


class InvariantError(AssertionError):
    """The agent broke a rule that it must always keep."""


@dataclass(frozen=True)
class MemorySnapshot:
    """The addresses with a pod, their devices, the host ports that lead to each; and the NICs."""

    pods: Mapping[str, str]
    host_ports: Mapping[str, tuple[PortMapping, ...]]
    nics: Mapping[str, int]


class MemoryDatapath:
    """One node's kernel. `nics` are the MACs of the NICs that are plugged in."""

    def __init__(
        self,
        *nics: str,
        datapath_modes: frozenset[str] = frozenset({"Veth"}),
        file: Path | None = None,
    ) -> None:
        self.nics = set(nics)
        self.plugged = dict.fromkeys(nics, 1)  # how often each has been, for its index
        self.node: NodeFacts | None = None
        self.configured: dict[str, ENIFacts] = {}
        self.torn_down: list[str] = []
        self.refused: str = ""  # an error that add, check and delete raise
        self.build_fails: str = ""  # an error that add raises when the pod is in the kernel already
        self.clear_fails = False  # nothing of a pod can be removed: add and delete say so
        self.looked_at: set[str] = set()  # the ENIs of the last look
        self.looked_into: dict[str, NodeFacts] = {}  # by container: the node's at the last time
        self.clears_nothing = False  # removing a pod reports success and removes nothing
        self.host_slave = ""  # the device of all pods, as with ipvlan; "" with veth
        self.eni_error: DatapathError | None = None  # of every ENI whose NIC is there
        self.eni_errors: dict[str, DatapathError] = {}  # of single ones, by name
        self.before_add: Callable[[PodInterface], None] = lambda _: None
        self.adds = 0
        self.changed: Callable[[], None] = lambda: None  # what the agent has subscribed
        self.announced: list[tuple[str, ...]] = []  # addresses of pods
        self.ended: list[tuple[str, str]] = []  # containers and namespaces of every end
        self.wrong: list[str] = []  # the texts of every InvariantError, in case it was caught
        self._datapath_modes = datapath_modes
        self._file = file
        self._lock = threading.Lock()
        self._pods: dict[str, dict[str, str]] = {}  # by address

    def datapath_modes(self) -> frozenset[str]:
        return self._datapath_modes

    def subscribe(self, changed: Callable[[], None]) -> None:
        self.changed = changed

    def close(self) -> None:
        self.changed = lambda: None

    def observe(self, enis: Collection[ENIFacts]) -> MemorySnapshot:
        self.looked_at = {eni.name for eni in enis}
        with self._kernel() as pods:
            return MemorySnapshot(
                {a: self._device(pod["container"]) for a, pod in pods.items()},
                {a: _leading_to(a, pod) for a, pod in pods.items() if pod["hostPorts"]},
                {eni.mac: self._link(eni).ifindex for eni in enis if eni.mac in self.nics},
            )

    def reconcile(self, snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        self.node = wanted.node
        errors = {eni.name: error for eni in wanted.enis if (error := self._error(eni))}
        for eni in wanted.departing:
            self._leave(eni)
        strays = snapshot.pods.keys() & wanted.strays
        for address in strays:
            self._remove_stray(address)
        self.configured |= {eni.name: eni for eni in wanted.enis if eni.name not in errors}
        lost = self._lost(wanted)
        asked = [p.interface for p in wanted.pods if p.netns and p.interface.eni.name not in errors]
        with hold(dict.fromkeys((*lost, *asked))) as held:
            broken = held.intersection(lost)
        looked_into = {pod: "" for pod in asked if pod in held - broken}
        self.looked_into |= {pod.container_id: wanted.node for pod in looked_into}
        return NodeReport(
            {eni.name: self._link(eni) for eni in wanted.enis if eni.name not in errors},
            errors,
            broken,
            dict.fromkeys(lost, "the pod has no route"),
            tuple(Repair("route", f"{address} had a route") for address in strays),
            BUSY if strays and self.clear_fails else "",
            {eni.name: eni.mac in self.nics for eni in wanted.departing if wanted.complete},
            looked_into=looked_into,
        )

    def forget_flows(self, _: Collection[str], /) -> None: ...
    def compare(self, snapshot: NodeSnapshot, wanted: WantedNode) -> NodeReport:  # noqa: ARG002
        errors = {eni.name: error for eni in wanted.enis if (error := self._error(eni))}
        return NodeReport(
            errors=errors, differing=dict.fromkeys(self._lost(wanted), "the pod has no route")
        )

    def add(self, pod: PodInterface, netns: str, *, rebuilds: bool = False) -> PodNetwork:  # noqa: ARG002
        self._usable(pod)
        self.before_add(pod)
        if pod.eni.mac not in self.nics:
            raise NICMissingError(f"the NIC of ENI {pod.eni.name} is gone")
        if not Path(netns).exists():
            raise NamespaceGoneError(f"{netns} is gone")
        owner = {
            "pod": pod.pod_uid,
            "container": pod.container_id,
            "interface": pod.interface,
            "netns": netns,
            "eni": pod.eni.name,
            "hostPorts": [msgspec.to_builtins(port) for port in pod.host_ports],  # as JSON has it
        }
        with self._kernel() as pods:
            for address in pod.addresses:
                if pods.get(address, owner) != owner:
                    self._never(f"{address} given to {owner} while {pods[address]} has it")
                pods[address] = owner
            self.adds += 1
        if self.build_fails:
            raise self._failure(pod)
        return self.network(pod)

    def finish_add(self, pod: PodInterface) -> None:
        self.announced.append(pod.addresses)

    def network(self, pod: PodInterface) -> PodNetwork:
        return PodNetwork(
            self._device(pod.container_id),
            "ee:ee:ee:ee:ee:ee",
            "0a:58:0a:62:00:05",
            ("169.254.1.1",),
            (PodRoute("0.0.0.0/0", "169.254.1.1"),),
            {"host": 0.0, "pod": 0.0},
        )

    def check(self, pod: PodInterface, netns: str) -> tuple[str, ...]:
        self._usable(pod)
        if not Path(netns).exists():
            raise NamespaceGoneError(f"{netns} is gone")
        with self._kernel() as pods:
            return tuple(f"{a} has no route" for a in pod.addresses if a not in pods)

    def delete(self, pod: PodInterface) -> None:
        self._require_answer()
        self._clear(pod)

    def finish_delete(self, pod: PodInterface, netns: str, kept: Collection[str] = ()) -> None:  # noqa: ARG002
        self._require_answer()
        self.ended.append((pod.container_id, netns))

    def pods(self) -> Mapping[str, str]:
        """Return the connected addresses with their devices."""
        return self.observe(()).pods

    def owners(self) -> dict[str, str]:
        """Return the container of each connected address."""
        with self._kernel() as pods:
            return {address: pod["container"] for address, pod in pods.items()}

    def lose(self, address: str) -> None:
        """Remove an address as somebody else would."""
        with self._kernel() as pods:
            del pods[address]

    def _error(self, eni: ENIFacts) -> DatapathError | None:
        if eni.mac not in self.nics:
            return NICMissingError(f"no NIC with MAC {eni.mac}")
        return self.eni_errors.get(eni.name, self.eni_error)

    def _link(self, eni: ENIFacts) -> LinkFacts:
        index = 100 * self.plugged.get(eni.mac, 1) + int(eni.mac[-2:], 16)
        return LinkFacts(f"ens{index}", index)

    def _leave(self, eni: ENIFacts) -> None:
        with self._kernel() as pods:
            if any(pod["eni"] == eni.name for pod in pods.values()):
                self._never(f"{eni.name} left under a pod")
        if self.configured.pop(eni.name, None):
            self.torn_down.append(eni.name)

    def _lost(self, wanted: WantedNode) -> list[PodInterface]:
        with self._kernel() as pods:
            return [
                pod.interface
                for pod in wanted.pods
                if pod.interface.eni.name in self.configured
                and any(address not in pods for address in pod.interface.addresses)
            ]

    def _remove_stray(self, address: str) -> None:
        with self._kernel() as pods:
            if not (self.clears_nothing or self.clear_fails):
                pods.pop(address, None)

    def _device(self, container_id: str) -> str:
        return self.host_slave or f"oe{container_id[:8]}"

    def _clear(self, pod: PodInterface) -> None:
        self._require_removable()
        with self._kernel() as pods:
            for address in pod.addresses:
                mine = pods.get(address, {}).get("container") == pod.container_id
                if mine and not self.clears_nothing:
                    del pods[address]

    def _failure(self, pod: PodInterface) -> DatapathError:
        """Return add's error, after it has tried to remove what it had built."""
        failure = KernelRefusedError(self.build_fails)
        try:
            self._clear(pod)
        except DatapathError:
            failure.left_behind = True
        return failure

    def _require_removable(self) -> None:
        if self.clear_fails:
            raise KernelRefusedError(BUSY)

    def _require_answer(self) -> None:
        if self.refused:
            raise KernelRefusedError(self.refused)

    def _usable(self, pod: PodInterface) -> None:
        self._require_answer()
        if pod.eni.name not in self.configured:
            self._never(f"{pod.eni.name} used before it was configured")

    def _never(self, what: str) -> None:
        self.wrong.append(what)
        raise InvariantError(what)

    @contextmanager
    def _kernel(self) -> Generator[dict[str, Any]]:
        """Yield the pods by address; changes are saved when the block ends."""
        with self._lock:
            if self._file is None:
                yield self._pods
                return
            with self._file.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = self._file.read_text() if self._file.exists() else "{}"
                pods: dict[str, Any] = json.loads(before)
                yield pods
                after = json.dumps(pods)
                if after != before:
                    fresh = self._file.with_suffix(".new")
                    fresh.write_text(after)
                    fresh.replace(self._file)


def _leading_to(address: str, pod: Mapping[str, Any]) -> tuple[PortMapping, ...]:
    """Return the host ports that lead to an address, as the kernel's maps have them."""
    family = family_of(address)
    ports = (p for p in msgspec.convert(pod["hostPorts"], _Ports) if family in p.families)
    every = ANY_ADDRESS[family]
    return tuple(replace(p, host_ip=every) if p.is_of_every_address else p for p in ports)
