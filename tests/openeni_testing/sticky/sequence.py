"""Random sequences of what may happen to kept addresses, on a few nodes.

Pods of a StatefulSet and others come, go and are restarted, ENIs are deleted, links and ports fail,
processes restart and crash, agents are away, calls fail or are late, a subnet is full, sizes,
limits and nodes come and go. A kept address may be lost only where the documentation says so; when
all is well again every pod starts, and then nobody writes.
"""

import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.names import ENIPOOLS, ENIS, PODIPS, PODS
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.datapath_api import NoCarrierError
from openeni_operator.claims import LIMITS
from openeni_operator.cloud.errors import CloudUnreachableError, ThrottledError
from openeni_testing.cloud.faults import Fault, no_response
from openeni_testing.sticky.world import KEPT, StickyWorld, Wish

KEPT_PODS: Final = ("web-0", "web-1", "web-2")
PODS_OF_ALL: Final = (*KEPT_PODS, "p0", "p1", "p2")
MORE_NODES: Final = ("n3", "n4")
CALLS: Final = (*["set fixed IPs"] * 3, "create port", "attach port", "detach port", "find port")
FAULTS: Final = (
    Fault(CloudUnreachableError("503")),
    Fault(ThrottledError("429")),
    Fault(no_response()),
    Fault(no_response(), worked=True),
    Fault(no_response(), worked=True, late=20.0),
)
SECONDS: Final = (0, 1, 1, 2, 3, 5, 10, 30, 70)  # that pass after an event
HEALED_WITHIN: Final = 700
AT_REST: Final = 30  # seconds in which nobody writes


class Sequence:
    """What happens in one world; `log` tells it."""

    def __init__(self, world: StickyWorld, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)  # noqa: S311 no secret
        self.log = list[str]()
        self.nodes_of = dict[str, str]()  # of the pods that exist
        self.waiting = set[str]()
        self.kept = dict[str, str]()  # by name, as soon as their PodIP says so
        self.may_be_lost = set[str]()  # of these
        self.more_nodes = list(MORE_NODES)

    def play(self, events: int) -> None:
        """Let so many things happen, then mend all, and wait until every pod runs."""
        happens = (
            *[self.create, self.end] * 2,
            *[self.move, self.restart_sandbox, self.lose_or_find_carrier] * 2,
            *[self.delete_eni, self.take_port_down],
            *[self.restart_operator, self.restart_agent, self.stop_or_start_agent],
            *[self.crash_operator, self.fail_calls, self.fill_or_empty_subnet, self.change_sizes],
            *[self.limit, self.limit_nodes, self.add_node, self.remove_node],
        )
        for _ in range(events):
            self.random.choice(happens)()
            self.pass_time(self.random.choice(SECONDS))
        self.mend()
        self.pass_time(HEALED_WITHIN, until_all_run=True)
        assert not self.waiting, f"{self.waiting} still wait"
        self.pass_time(HEALED_WITHIN // 2)
        before = self._versions()
        self.pass_time(AT_REST)
        assert self._versions() == before, "somebody writes although nothing happens"

    def pass_time(self, seconds: int, *, until_all_run: bool = False) -> None:
        for _ in range(seconds):
            if until_all_run and not self.waiting:
                return
            self.world.step()
            for name in set(KEPT_PODS) & set(self.nodes_of) - self.waiting:
                self.kept.update((name, address) for address in self.world.addresses(name))
            self._add()

    def create(self) -> None:
        absent = [name for name in PODS_OF_ALL if name not in self.nodes_of]
        if absent:
            self._create(self.random.choice(absent), self._node())

    def end(self) -> None:
        if name := self._any(set(self.nodes_of) - self._of_stopped_agents()):
            self._end(name)

    def move(self) -> None:
        """A pod ends, and is made anew at once, perhaps on another node."""
        if name := self._any(set(self.nodes_of) - self._of_stopped_agents()):
            self._end(name)
            self._create(name, self._node())

    def restart_sandbox(self) -> None:
        running = set(self.nodes_of) - self.waiting - self._of_stopped_agents()
        if name := self._any(running):
            self._note(f"the sandbox of {name} ends")
            self.world.end_sandbox(name)
            self.world.set_phase(name, self.random.choice(["Pending", "Running"]))
            self.waiting.add(name)

    def lose_or_find_carrier(self) -> None:
        node = self._node()
        datapath = self.world.agents[node].datapath
        datapath.eni_error = None if datapath.eni_error else NoCarrierError("no carrier")
        self._note(f"{node}: {datapath.eni_error or 'a carrier'}")

    def take_port_down(self) -> None:
        """Neutron calls a port DOWN, as while its agent restarts."""
        ports = self.world.sim.cloud.ports
        if eni := self._eni():
            port = ports.get(eni.status.port.id) if eni.status.port else None
            if port is not None and port.status == "ACTIVE":
                self._note(f"the port of {eni.name} is DOWN")
                ports[port.id] = replace(port, status="DOWN", revision=port.revision + 1)

    def delete_eni(self) -> None:
        """What is kept there for a pod that is away goes with the ENI."""
        if eni := self._eni():
            self._note(f"{eni.name} is deleted")
            self._may_lose(eni)
            self.world.sim.api.delete(ENIS, eni.name)

    def restart_operator(self) -> None:
        self._note("the operator restarts")
        self.world.sim.restart()

    def crash_operator(self) -> None:
        """After some calls and writes, whichever they are."""
        countdown, steps = self.world.sim.countdown, self.random.randint(1, 30)
        self._note(f"the operator crashes after {steps} calls and writes")
        countdown.left = countdown.seen + steps

    def fail_calls(self) -> None:
        """Calls are refused, or get no response and take effect at once, late or never."""
        call, fault = self.random.choice(CALLS), self.random.choice(FAULTS)
        times = self.random.choice([1, 2, 4])
        self._note(f"{call} fails {times} times: {fault}")
        self.world.sim.cloud.fail(call, *[fault] * times)

    def fill_or_empty_subnet(self) -> None:
        self.world.sim.cloud.filled ^= {self.world.sim.subnet.id}
        self._note(f"full subnets: {self.world.sim.cloud.filled}")

    def change_sizes(self) -> None:
        field = self.random.choice(["addressesPerENI", "minAvailable"])
        self._set_capacity(field, self.random.choice([1, 2, 3, 4]))

    def restart_agent(self) -> None:
        node = self._node()
        self._note(f"the agent of {node} restarts")
        self.world.restart_agent(node)

    def stop_or_start_agent(self) -> None:
        node = self._node()
        if self.world.stopped:
            self._note(f"the agents of {self.world.stopped} start")
            self.world.stopped.clear()
        else:
            self._note(f"the agent of {node} stops")
            self.world.stopped.add(node)

    def limit(self) -> None:
        """The pool may hold no more than it does, or any number again."""
        ports = [eni.status.port for eni in self.world.sim.enis()]
        held = sum(len(port.addresses) for port in ports if port)
        limited = self.world.sim.pool().spec.limits.max_addresses is not None
        self._set_limits({} if limited else {"maxAddresses": max(1, held)})

    def limit_nodes(self) -> None:
        """A node may hold no more than one of them does, or any number again."""
        limited = self.world.sim.pool().spec.capacity.max_addresses_per_node is not None
        held = Counter[str]()
        for eni in self.world.sim.enis():
            held[eni.spec.node_name] += len(eni.status.port.addresses) if eni.status.port else 0
        self._set_capacity("maxAddressesPerNode", None if limited else max(1, *held.values(), 0))

    def add_node(self) -> None:
        if self.more_nodes:
            node = self.more_nodes.pop()
            self._note(f"{node} is added")
            self.world.add_node(node)

    def remove_node(self) -> None:
        """What was kept there may be lost: its port goes with the server."""
        if node := self._any(set(self.world.agents) & set(MORE_NODES)):
            self._note(f"{node} is removed")
            self.may_be_lost |= {
                address for address in self.kept.values() if self.world.node_of(address) == node
            }
            for name in [n for n, of in self.nodes_of.items() if of == node]:
                self.world.sim.api.delete(PODS, name, "default")
                del self.nodes_of[name]
                self.waiting.discard(name)
            self.world.stopped.discard(node)
            self.world.remove_node(node)

    def mend(self) -> None:
        self._note("all is mended")
        self.world.stopped.clear()
        for agent in self.world.agents.values():
            agent.datapath.eni_error = None
        ports = self.world.sim.cloud.ports
        for port in [p for p in ports.values() if p.device_id and p.status == "DOWN"]:
            ports[port.id] = replace(port, status="ACTIVE", revision=port.revision + 1)
        self.world.sim.countdown.left = None
        self.world.sim.cloud.faults.clear()
        self.world.sim.cloud.filled.clear()
        self._set_limits({})
        self._set_capacity("maxAddressesPerNode", None)

    def _create(self, name: str, node: str) -> None:
        self._note(f"{name} is created on {node}")
        self.world.create_pod(name, node, **(KEPT if name in KEPT_PODS else Wish()))
        self.nodes_of[name] = node
        self.waiting.add(name)

    def _end(self, name: str) -> None:
        self._note(f"{name} ends on {self.nodes_of.pop(name)}")
        self.world.end_sandbox(name)
        self.world.sim.api.delete(PODS, name, "default")
        self.waiting.discard(name)

    def _add(self) -> None:
        """Have the runtime add each pod that waits; what is kept may not have become another's."""
        for name in sorted(self.waiting - self._of_stopped_agents()):
            had = self.kept.get(name, "")
            if had and self.world.reason(name) in LIMITS:
                self.may_be_lost.add(had)  # without room for it, it is on no port for long
            with suppress(CNIError):
                (got,) = self.world.add(name)
                self.waiting.discard(name)
                self._note(f"{name} has {got}")
                if name in KEPT_PODS:
                    lost = had not in {"", got}
                    assert not lost or had in self.may_be_lost, f"{name} had {had}, has {got}"

    def _may_lose(self, eni: ENI) -> None:
        held = eni.status.port.addresses if eni.status.port else ()
        absent = {a for name, a in self.kept.items() if name not in self.nodes_of}
        self.may_be_lost |= absent & set(held)

    def _set_limits(self, limits: dict[str, int]) -> None:
        self._note(f"limits: {limits}")
        change = [{"op": "add", "path": "/spec/limits", "value": limits}]
        self.world.sim.api.patch(ENIPOOLS, "pods", operations=change)

    def _set_capacity(self, field: str, value: int | None) -> None:
        self._note(f"{field}: {value or 'any number'}")
        change = [{"op": "add", "path": f"/spec/capacity/{field}", "value": value}]
        self.world.sim.api.patch(ENIPOOLS, "pods", operations=change)

    def _of_stopped_agents(self) -> set[str]:
        return {name for name, node in self.nodes_of.items() if node in self.world.stopped}

    def _node(self) -> str:
        return self.random.choice(sorted(self.world.agents))

    def _eni(self) -> ENI | None:
        enis = [eni for eni in self.world.sim.enis() if not eni.metadata.deleting]
        return self.random.choice(enis) if enis else None

    def _any(self, names: set[str]) -> str:
        return self.random.choice(sorted(names)) if names else ""

    def _versions(self) -> dict[str, str]:
        return {
            f"{kind.plural}/{body['metadata']['name']}": body["metadata"]["resourceVersion"]
            for kind in (ENIPOOLS, ENIS, PODIPS)
            for body in self.world.sim.api.list(kind).items
        }

    def _note(self, text: str) -> None:
        self.log.append(f"{self.world.sim.cloud.clock.now:6.0f} s  {text}")
