"""An agent of which each step can be preempted: its commands, ledger, locks and look are real.

`World` has one with a pod that runs, and what a runtime may do with it.
"""

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from openeni_crds import names
from openeni_nodeagent.attachments.container_locks import ContainerLocks
from openeni_nodeagent.cni.parsing import parse
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.datapath_api import (
    ENIFacts,
    Hold,
    NodeReport,
    NodeSnapshot,
    PodInterface,
    PodNetwork,
    WantedNode,
)
from openeni_nodeagent.grants import journal
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grant_log import EndReason, GrantLog
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.requests import GrantRequest
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import CONFIG
from openeni_testing.agent.direct_call import handle_directly
from openeni_testing.agent.interleavings import Interleaving
from openeni_testing.agent.memory_datapath import MemoryDatapath, MemorySnapshot
from openeni_testing.agent.parts import AgentParts


class Locks(ContainerLocks):
    """A preemption before each container's lock."""

    def __init__(self, point: Callable[..., None]) -> None:
        super().__init__()
        self._point = point

    @contextmanager
    def locked(self, container_id: str, deadline: float = 0.0) -> Generator[None]:
        waits = deadline > 0
        self._point(lambda: not waits or container_id not in self._running)
        with super().locked(container_id, deadline):
            yield


class Ledgers(Grants):
    """A preemption before each step at the ledger."""

    def __init__(
        self,
        point: Callable[..., None],
        made: journal.Journal,
        log: GrantLog,
        is_at_work: Callable[[str], bool],
    ) -> None:
        super().__init__(made, log, is_at_work)
        self._point = point

    def acquire(
        self, wanted: GrantRequest, deadline: float, alive: Callable[[], bool]
    ) -> Grant | None:
        self._point()
        return super().acquire(wanted, deadline, alive)

    def mark_connected(self, grant: Grant, pod_network: PodNetwork) -> None:
        self._point()
        super().mark_connected(grant, pod_network)

    def end_grant(self, grant: Grant, reason: EndReason, *, used: bool = True) -> None:
        self._point()
        super().end_grant(grant, reason, used=used)

    def leftovers(self) -> frozenset[str]:
        self._point()
        return super().leftovers()


class Kernel(MemoryDatapath):
    """A preemption before and after each step in the kernel."""

    def __init__(self) -> None:
        super().__init__(node_objects.mac(0))
        self.point: Callable[..., None] = lambda: None
        self.deletes_nothing = False  # and reports success

    def observe(self, enis: Collection[ENIFacts]) -> MemorySnapshot:
        self.point()
        found = super().observe(enis)
        self.point()
        return found

    def reconcile(self, snapshot: NodeSnapshot, wanted: WantedNode, hold: Hold) -> NodeReport:
        self.point()
        return super().reconcile(snapshot, wanted, hold)

    def add(self, pod: PodInterface, netns: str, *, rebuilds: bool = False) -> PodNetwork:
        self.point()
        made = super().add(pod, netns, rebuilds=rebuilds)
        self.point()
        return made

    def delete(self, pod: PodInterface) -> None:
        self.point()
        if not self.deletes_nothing:
            super().delete(pod)


@dataclass
class World:
    """An agent's process with a pod that runs in the container c1, and has the only address."""

    folder: Path
    interleaving: Interleaving
    answered: set[str] = field(default_factory=set[str])
    over: set[str] = field(default_factory=set[str])  # since their last ADD, by DEL or GC
    lost: set[str] = field(default_factory=set[str])  # whose datapath somebody has removed
    ending: set[str] = field(default_factory=set[str])  # whose DEL or GC has begun

    def __post_init__(self) -> None:
        self.kernel = kernel = Kernel()
        point = self.interleaving.point
        self.parts = AgentParts(
            self.folder,
            datapath=kernel,
            make_grants=partial(Ledgers, point),
            make_locks=partial(Locks, point),
        )
        node_objects.make_node(self.parts.store)
        node_objects.make_pool(self.parts.store, cool_down="0s")
        node_objects.make_eni(self.parts.store)
        node_objects.write_operator_status(self.parts.store, count=1)
        self.uids = {c: node_objects.make_pod(self.parts.store, c) for c in ("c1", "c2", "c3")}
        self.parts.sync()
        self.add("c1")
        assert self.answered == {"c1"}
        self.parts.look()
        kernel.point = point

    def make_room(self) -> None:
        """Let the ENI have a second address."""
        node_objects.write_operator_status(self.parts.store, count=2)
        self.parts.sync()

    def add(self, container: str) -> None:
        with suppress(CNIError):
            self._handle("ADD", container)
            self.answered.add(container)
            self.over.discard(container)

    def delete(self, container: str) -> None:
        self.ending.add(container)
        with suppress(CNIError):
            self._handle("DEL", container)
            self.over.add(container)

    def check(self, container: str) -> None:
        with suppress(CNIError):
            self._handle("CHECK", container, prevResult={})

    def collect(self, container: str) -> None:
        """End a container's grant by GC, which lists all others."""
        self.ending.add(container)
        listed = [{"containerID": c, "ifname": "eth0"} for c in self.uids if c != container]
        with suppress(CNIError):
            self._handle("GC", "", **{"cni.dev/valid-attachments": listed})
            grant = self.parts.grants.find(container, "eth0")
            if grant is None or not grant.connected:  # one that an ADD has used meanwhile stays
                self.over.add(container)

    def look(self) -> None:
        self.parts.looks.look()

    def finish(self) -> None:
        self.parts.finish()

    def delete_pod(self, container: str) -> None:
        self.parts.store.delete(names.PODS, container, "default")
        self.parts.sync()

    def crash(self) -> None:
        """Start the next process; the runtime ends what was not answered, and tries DEL again."""
        self.close()
        self.parts = self.parts.restarted()
        self.parts.sync()
        for container in self.uids.keys() - (self.answered - self.over - self.ending):
            self.delete(container)

    def close(self) -> None:
        self.parts.journal.close()

    def require_one_owner(self) -> None:
        """Let it come to rest, and compare what runs with ledger, journal and kernel.

        No pod that was answered has been without its datapath, unless somebody else took it.
        """
        parts = self.parts
        served = set(parts.datapath.owners().values())
        assert served >= self.answered - self.over - self.ending - self.lost
        self.kernel.deletes_nothing = False
        parts.look()
        parts.look()
        lives = self.answered - self.over
        kernel = parts.datapath.owners()
        held = {a: g.attachment.container_id for g in parts.grants.all() for a in g.addresses}
        written = journal.read(self.folder / "journal")
        kept = {a: g.attachment.container_id for g in written.grants.values() for a in g.addresses}
        assert sorted(kernel.values()) == sorted(lives), (kernel, self.answered, self.over)
        assert kernel == held == kept
        assert parts.datapath.wrong == []
        assert not parts.grants.reserved()

    def _handle(self, command: str, container: str, **config: Any) -> None:
        netns = self.parts.netns(container)
        netns.touch()
        variables: Mapping[str, str] = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": str(netns),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/bin",
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={container};"
            f"K8S_POD_UID={self.uids.get(container, '')}",
        }
        request = parse(variables, msgspec.json.encode(CONFIG | config))
        handle_directly(self.parts.commands, request)
