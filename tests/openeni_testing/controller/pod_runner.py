"""Run pods in a simulation: each waiting pod gets a free address of an ENI of its node.

It stands for the kubelets, and for the part of the agents that grants: from what the API shows, an
address that the operator asks for or that is leaving the port is granted to nobody.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.meta import Json
from openeni_crds.names import ANNOTATION_POOL, PODIPS, PODS
from openeni_kube.store import NotFoundError
from openeni_testing.controller.agent_report import requested_addresses
from openeni_testing.controller.simulation import Simulation
from openeni_testing.objects import podip_body


@dataclass
class PodRunner:
    """The pods of a simulation; `lost` has those whose address has left its port."""

    sim: Simulation
    running: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    lost: list[str] = field(default_factory=list[str])
    started: int = 0

    def __post_init__(self) -> None:
        self.sim.cloud.observe = self.check

    def start(self, count: int, node: str = "n1", pool: str = "") -> None:
        """Bind so many more pods to the node; a pool that they name is the only one they use."""
        for _ in range(count):
            self.started += 1
            self.sim.add_pod(f"p{self.started}", node, pool=pool)

    def run(self) -> int:
        """Give each waiting pod an address if there is one; return how many wait still."""
        waiting = 0
        for body in self.sim.api.list(PODS).items:
            if body.get("status", {}).get("phase") == "Pending":
                waiting += not self._serve(body)
        return waiting

    def end(self, count: int | None = None) -> None:
        """End so many pods, or all."""
        for name in list(self.running)[:count]:
            eni, address = self.running.pop(name)
            self.sim.granted[eni].discard(address)
            with suppress(NotFoundError):
                self.sim.api.delete(PODIPS, name, "default")
            self.sim.api.delete(PODS, name, "default")

    def hide_podips(self) -> None:
        """Delete the PodIPs: those of pods that have just started are published later."""
        for body in self.sim.api.list(PODIPS).items:
            self.sim.api.delete(PODIPS, body["metadata"]["name"], "default")

    def settle(self, seconds: float, step: float = 5.0) -> int:
        """Let time pass; pods start as soon as they can. Return how many wait still."""
        end = self.sim.cloud.clock.now + seconds
        while self.sim.cloud.clock.now < end:
            self.run()
            self.sim.settle(min(step, end - self.sim.cloud.clock.now))
        return self.run()

    def pass_time(self, seconds: float) -> int:
        """Let time pass without resyncs; return how many pods wait."""
        end = self.sim.cloud.clock.now + seconds
        while self.sim.cloud.clock.now < end:
            self.run()
            self.sim.run_events(30)
        return self.run()

    def check(self, called: str) -> None:
        """Note the pods whose address is not on an attached port."""
        there = {
            f.address
            for port in self.sim.cloud.ports.values()
            if port.device_id
            for f in port.fixed_ips
        }
        self.lost += [
            f"{name}: {address} after {called}"
            for name, (_, address) in self.running.items()
            if address not in there
        ]

    def _serve(self, body: Json) -> bool:
        pool = body["metadata"].get("annotations", {}).get(ANNOTATION_POOL, "")
        found = next(self._free(body["spec"]["nodeName"], pool), None)
        if found is None:
            return False
        eni, address = found
        name = body["metadata"]["name"]
        self.running[name] = eni, address
        self.sim.granted.setdefault(eni, set()).add(address)
        podip = podip_body(name, node=body["spec"]["nodeName"])
        podip["spec"] |= {"podUID": body["metadata"]["uid"], "eniName": eni, "address": address}
        self.sim.api.create(PODIPS, podip)
        self.sim.api.patch(
            PODS,
            name,
            "default",
            operations=[{"op": "add", "path": "/status/phase", "value": "Running"}],
            subresource="status",
        )
        return True

    def _free(self, node: str, pool: str) -> Iterator[tuple[str, str]]:
        """Yield the free addresses of the node's ENIs, each with its ENI."""
        for eni in self.sim.enis():
            if pool not in {"", eni.spec.pool_name}:
                continue
            if eni.spec.node_name == node and is_usable(eni):
                taken = self.sim.granted.get(eni.name, set()) | requested_addresses(eni)
                assert eni.status.port is not None
                yield from ((eni.name, a) for a in eni.status.port.addresses if a not in taken)


def is_usable(eni: ENI) -> bool:
    return not eni.metadata.deleting and is_true(eni.status.conditions, Type.READY)
