"""Two nodes with the real agents' parts, the real operator, and a cloud in memory.

Nothing but threads, sockets and time is simulated between an ADD and Neutron: an agent is granted,
publishes and answers by its own code, and every status and spec goes through the store.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypedDict, Unpack

from openeni_crds import names
from openeni_crds.conditions import Condition, Type, find
from openeni_crds.meta import Json, decode
from openeni_crds.podip import PodIP
from openeni_kube.store import NotFoundError
from openeni_nodeagent.cni.protocol import CNIError, Command, Config, Request
from openeni_operator.cloud.api import FixedIP, Port
from openeni_testing.agent.direct_call import handle_directly
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.agent.parts import AgentParts
from openeni_testing.controller.simulation import Simulation


class Wish(TypedDict, total=False):
    """Annotations of a pod, without openeni.io/."""

    sticky: str
    address: str
    pool: str


NODES: Final = ("n1", "n2")
KEPT: Final = Wish(sticky="1h")
VERSION: Final = "1.1.0"
COOL_DOWN: Final = 30  # seconds
POLLS: Final = 400  # seconds of the simulation, at most, that anything here takes
# What the operator asks of an ENI changes with each move, and comes to an end.
CHANGES: Final = 12  # of an ENI's spec in a minute, at most


@dataclass
class StickyWorld:
    """A cluster with one pool; `folder` has the agents' files."""

    folder: Path
    growth: str = "Elastic"
    dual_stack: bool = False
    capacity: dict[str, Any] = field(default_factory=dict[str, Any])
    broken: list[str] = field(default_factory=list[str])  # invariants, by the call after which
    stopped: set[str] = field(default_factory=set[str])  # nodes whose agents do not run

    def __post_init__(self) -> None:
        self.sim = Simulation(nodes=len(NODES), dual_stack=self.dual_stack)
        sizes = {"growth": self.growth, "addressesPerENI": 4, "minAvailable": 1, **self.capacity}
        self.sim.add_pool(capacity=sizes, reclaim={"policy": "Never"}, coolDown=f"{COOL_DOWN}s")
        self.agents = {node: self._agent(node) for node in NODES}
        self.containers = 0
        self.names = set[str]()  # of all pods that have been
        self.owners: dict[str, tuple[str, float]] = {}  # the last of each address, and when
        self.changes: dict[str, list[tuple[float, int]]] = {}  # of ENIs: when, and how often
        self.sim.cloud.observe = self.check
        self.until(lambda: all(self.free(node) for node in NODES), "both nodes have addresses")

    def _agent(self, node: str) -> AgentParts:
        (self.folder / node).mkdir()
        datapath = MemoryDatapath()
        return AgentParts(self.folder / node, self.sim.api, datapath, node=node)

    def add_node(self, node: str) -> None:
        self.sim.add_node(node)
        self.agents[node] = self._agent(node)

    def restart_agent(self, node: str) -> None:
        self.agents[node] = self.agents[node].restarted()

    def act(self, node: str) -> None:
        """Let an agent do what its queues would."""
        agent, server = self.agents[node], self.server(node)
        agent.datapath.nics = {
            port.mac_address
            for port in self.sim.cloud.ports.values()
            if port.device_id == server and port.status == "ACTIVE"
        }
        agent.sync()
        agent.sync()  # what the first look found
        for _ in range(2):
            publisher = agent.eni_publisher()
            for eni in agent.caches.enis.all():
                publisher.reconcile(eni.name)
            for key in self._keys(agent):
                agent.publisher.reconcile(key)
            agent.sync()

    def _keys(self, agent: AgentParts) -> set[str]:
        """Return the keys that events of pods, grants and PodIPs have enqueued at any time."""
        return self.names | {podip.key for podip in agent.caches.podips.all()}

    def step(self, seconds: float = 1.0, *, resync: bool = True) -> None:
        """Let everybody act, and some time pass, with a `resync` or what events alone wake."""
        for node in set(self.agents) - self.stopped:
            self.act(node)
        run = self.sim.settle if resync else self.sim.run_events
        run(seconds, agents=False)
        self.check("a step")
        self.check_changes()

    def until(self, holds: Callable[[], bool], what: str, seconds: int = POLLS) -> None:
        for _ in range(seconds):
            if holds():
                return
            self.step()
        raise AssertionError(f"not in {seconds} s: {what}")

    def server(self, node: str) -> str:
        provider: str = self.sim.api.get(names.NODES, node)["spec"]["providerID"]
        return provider.rpartition("/")[2]

    def free(self, node: str) -> int:
        """Return how many addresses any pod of the node may get."""
        grants, enis = self.agents[node].grants, self.agents[node].caches.enis.all()
        answers = (grants.acknowledge(eni.name) for eni in enis)
        return sum(found[1].available for found in answers if found is not None)

    def create_pod(self, name: str, node: str, **wish: Unpack[Wish]) -> str:
        """Bind a pod to a node; return its UID."""
        body: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "default",
                "annotations": {f"{names.GROUP}/{k}": v for k, v in wish.items()},
            },
            "spec": {"nodeName": node},
            "status": {"phase": "Pending"},
        }
        uid: str = self.sim.api.create(names.PODS, body)["metadata"]["uid"]
        self.names.add(f"default/{name}")
        return uid

    def add(self, name: str) -> tuple[str, ...]:
        """Have the runtime add the pod; return its addresses. Raises CNIError."""
        pod = self.sim.api.get(names.PODS, name, "default")
        node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
        agent = self.agents[node]
        agent.sync()
        self.containers += 1
        container = f"c{self.containers}"
        agent.netns(container).touch()
        netns = str(agent.netns(container))
        request = Request(
            Command.ADD, container, "eth0", netns, uid, "default", name, Config(VERSION)
        )
        result = json.loads(handle_directly(agent.commands, request))
        self.set_phase(name, "Running")
        self.check(f"ADD of {name}")
        return tuple(ip["address"].partition("/")[0] for ip in result["ips"])

    def set_phase(self, name: str, phase: str) -> None:
        """Have kubelet report the pod's phase."""
        change = [{"op": "add", "path": "/status/phase", "value": phase}]
        self.sim.api.patch(names.PODS, name, "default", operations=change, subresource="status")

    def start(
        self, name: str, node: str, seconds: int = POLLS, **wish: Unpack[Wish]
    ) -> tuple[str, ...]:
        """Create a pod and add it as soon as it can be; return its addresses."""
        self.create_pod(name, node, **wish)
        return self.retry(name, seconds)

    def retry(self, name: str, seconds: int = POLLS) -> tuple[str, ...]:
        """Add a pod as often as kubelet would; return its addresses."""
        found: list[tuple[str, ...]] = []

        def added() -> bool:
            try:
                found.append(self.add(name))
            except CNIError:
                return False
            return True

        self.until(added, f"pod {name} starts: {self.reason(name)}", seconds)
        self.step()
        return found[0]

    def refusal(self, name: str, seconds: int = 60) -> str:
        """Let so much time pass; return the error of an ADD that still fails."""
        text = ""
        for _ in range(seconds):
            try:
                self.add(name)
            except CNIError as error:
                text = f"{error.message}: {error.details}"
            else:
                raise AssertionError(f"pod {name} has got an address")
            self.step()
        return text

    def end(self, name: str) -> None:
        """End a pod: its containers first, then the object."""
        self.end_sandbox(name)
        self.sim.api.delete(names.PODS, name, "default")
        self.step()

    def end_sandbox(self, name: str) -> None:
        """End a pod's containers, as at a restart of their runtime: the pod stays."""
        pod = self.sim.api.get(names.PODS, name, "default")
        agent = self.agents[pod["spec"]["nodeName"]]
        for grant in agent.grants.of_pod(pod["metadata"]["uid"]):
            container = grant.attachment.container_id
            request = Request(
                Command.DEL, container, "eth0", grant.netns, "", "", "", Config(VERSION)
            )
            handle_directly(agent.commands, request)
            agent.netns(container).unlink()

    def lose_port(self, address: str) -> None:
        """Delete the port that has the address, behind openeni's back."""
        ports = self.sim.cloud.ports
        lost = (p.id for p in ports.values() if any(f.address == address for f in p.fixed_ips))
        del ports[next(lost)]
        self.until(lambda: not self.sim.process.state.enis_with(address), "the loss is seen")

    def podip(self, name: str) -> PodIP | None:
        try:
            return decode(self.sim.api.get(names.PODIPS, name, "default"), PodIP)
        except NotFoundError:
            return None

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the addresses in the PodIP of that name."""
        podip = self.podip(name)
        return podip.spec.addresses if podip else ()

    def condition(self, name: str, type_: Type) -> Condition | None:
        podip = self.podip(name)
        return find(podip.status.conditions, type_) if podip else None

    def reason(self, name: str, type_: Type = Type.PLACED) -> str:
        found = self.condition(name, type_)
        return found.reason if found else ""

    def node_of(self, address: str) -> str:
        """Return the node whose server has the address, as Neutron says it; "" if none has."""
        servers = {self.server(node): node for node in self.agents}
        for port in self.sim.cloud.ports.values():
            if any(f.address == address for f in port.fixed_ips):
                return servers.get(port.device_id, "")
        return ""

    def is_on_a_port(self, address: str) -> bool:
        return any(f.address == address for p in self.sim.cloud.ports.values() for f in p.fixed_ips)

    def take_elsewhere(self, address: str) -> str:
        """Give the address to a port that is not openeni's; return its ID."""
        network, subnet = self.sim.network.id, self.sim.subnet.id
        fixed = (FixedIP(subnet, address),)
        port = Port("foreign", "theirs", network, "fa:16:3e:ff:00:01", fixed_ips=fixed)
        self.sim.cloud.ports[port.id] = port
        return port.id

    def remove_node(self, node: str) -> None:
        """Remove the node, its server and its agent."""
        server = self.server(node)
        self.sim.api.delete(names.NODES, node)
        self.sim.cloud.remove_server(server)
        del self.agents[node]

    def check(self, after: str) -> None:
        """Note each address that a pod has and its node's server has not, or that two pods have.

        And one that another pod had less than its cool-down ago.
        """
        owners: dict[str, str] = {}
        now = self.sim.cloud.clock.now
        for node, agent in getattr(self, "agents", {}).items():
            for grant in agent.grants.all():
                for address in grant.addresses:
                    if self.node_of(address) != node:
                        self.broken.append(f"{grant.name} lacks {address} after {after}")
                    if address in owners:
                        self.broken.append(f"{address} is {owners[address]}'s and {grant.name}'s")
                    owners[address] = grant.name
                    owner, at = self.owners.get(address, (grant.name, now))
                    if owner != grant.name and now - at < COOL_DOWN:
                        self.broken.append(f"{address} was {owner}'s {now - at:g} s before {after}")
        self.owners |= {address: (name, now) for address, name in owners.items()}

    def check_changes(self) -> None:
        """Note each ENI whose spec is changed again and again."""
        now = self.sim.cloud.clock.now
        for eni in self.sim.enis():
            found = self.changes.setdefault(eni.metadata.uid, [])
            found[:] = [(at, count) for at, count in found if now - at <= 60]
            found.append((now, eni.metadata.generation))
            changes = eni.metadata.generation - found[0][1]
            if changes > CHANGES:
                self.broken.append(f"{eni.name} was changed {changes} times in a minute")
