"""A NodeDatapath in memory, or in a file that outlives its process.

It behaves as `datapath_api.NodeDatapath` promises and refuses what a correct agent never does: give
one address to two pods, use an ENI before it was configured, tear down an ENI that has a pod.
"""

import fcntl
import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openeni_nodeagent.datapath_api import (
    ENIFacts,
    KernelRefusedError,
    LinkFacts,
    NamespaceGoneError,
    NICMissingError,
    NodeFacts,
    PodInterface,
    PodNetwork,
    PodRoute,
)


class InvariantError(AssertionError):
    """The agent broke a rule that it must always keep."""


class MemoryDatapath:
    """One node's kernel. `nics` are the MACs of the NICs that are plugged in."""

    def __init__(
        self,
        *nics: str,
        datapath_modes: frozenset[str] = frozenset({"Veth"}),
        file: Path | None = None,
    ) -> None:
        self.nics = set(nics)
        self.node: NodeFacts | None = None
        self.configured: dict[str, ENIFacts] = {}
        self.torn_down: list[str] = []
        self.refused: str = ""  # an error that add, check and delete raise
        self.before_add: Callable[[PodInterface], None] = lambda _: None
        self.adds = 0
        self.ended: list[tuple[str, str]] = []  # containers and namespaces of every delete
        self.wrong: list[str] = []  # the texts of every InvariantError, in case it was caught
        self._datapath_modes = datapath_modes
        self._file = file
        self._lock = threading.Lock()
        self._pods: dict[str, dict[str, str]] = {}  # by address

    def datapath_modes(self) -> frozenset[str]:
        return self._datapath_modes

    def configure_node(self, node: NodeFacts) -> None:
        self.node = node

    def configure_eni(self, eni: ENIFacts, node: NodeFacts) -> LinkFacts:
        if self.node != node:
            self._never("configure_eni before configure_node")
        if eni.mac not in self.nics:
            raise NICMissingError(f"no NIC with MAC {eni.mac}")
        self.configured[eni.name] = eni
        return LinkFacts(f"ens{len(eni.name)}", 7)

    def teardown_eni(self, eni: ENIFacts) -> None:
        with self._kernel() as pods:
            if any(pod["eni"] == eni.name for pod in pods.values()):
                self._never(f"{eni.name} torn down under a pod")
        self.configured.pop(eni.name, None)
        self.torn_down.append(eni.name)

    def add(self, pod: PodInterface, netns: str) -> PodNetwork:
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
        }
        with self._kernel() as pods:
            for address in pod.addresses:
                if pods.get(address, owner) != owner:
                    self._never(f"{address} given to {owner} while {pods[address]} has it")
                pods[address] = owner
            self.adds += 1
        return PodNetwork(
            f"oe{pod.container_id[:8]}",
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

    def delete(self, pod: PodInterface, netns: str) -> None:
        self._usable(pod)
        self.ended.append((pod.container_id, netns))
        with self._kernel() as pods:
            for address in pod.addresses:
                if pods.get(address, {}).get("container") == pod.container_id:
                    del pods[address]

    def pods(self) -> Mapping[str, str]:
        with self._kernel() as pods:
            return {address: f"oe{pod['container'][:8]}" for address, pod in pods.items()}

    def owners(self) -> dict[str, str]:
        """Return the container of each connected address."""
        with self._kernel() as pods:
            return {address: pod["container"] for address, pod in pods.items()}

    def delete_address(self, address: str) -> None:
        with self._kernel() as pods:
            pods.pop(address, None)

    def _usable(self, pod: PodInterface) -> None:
        if self.refused:
            raise KernelRefusedError(self.refused)
        if self.configured.get(pod.eni.name) != pod.eni:
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
                there = self._file.exists()
                before = self._file.read_text() if there else "{}"
                pods: dict[str, Any] = json.loads(before)
                yield pods
                after = json.dumps(pods)
                if after != before:
                    fresh = self._file.with_suffix(".new")
                    fresh.write_text(after)
                    fresh.replace(self._file)
