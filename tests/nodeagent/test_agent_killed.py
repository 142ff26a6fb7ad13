"""kill -9 of the agent at random instants while pods come and go: nothing is lost or doubled.

The agent is a process of its own; the cluster is this process's memory, the kernel a file that
survives it. What is compared at the end are four accounts: the runtime's (which containers live),
the kernel's, the PodIPs and the ENI's counts.
"""

import os
import random
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Type, is_true
from openeni_crds.meta import decode
from openeni_crds.podip import PodIP
from openeni_testing.agent import node_objects
from openeni_testing.agent.wiring import MemoryWiring
from openeni_testing.agent.world import AgentWorld, environment
from openeni_testing.store.remote import serve
from openeni_testing.waiting import wait_for

KILLS = 20
WORKERS = 6
COUNT = 30


class AgentProcess:
    """The agent, again and again."""

    def __init__(self, world: AgentWorld) -> None:
        self._world = world
        self._log = (world.folder / "agent.log").open("ab")
        self._process = self._start()

    def kill_and_start(self) -> None:
        self._process.kill()
        self._process.wait(60)
        self._process = self._start()

    def stop(self) -> None:
        self._process.terminate()
        assert self._process.wait(60) == 0, self.log()
        self._log.close()

    def log(self) -> str:
        return (self._world.folder / "agent.log").read_text()

    def _start(self) -> "subprocess.Popen[bytes]":
        variables = os.environ | environment(self._world.folder, self._world.executable)
        variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        return subprocess.Popen(
            [sys.executable, "-m", "openeni_testing.agent.process", str(self._world.folder)],
            env=variables,
            stdout=self._log,
            stderr=self._log,
        )


@pytest.fixture
def world(tmp_path: Path, executable: Path) -> AgentWorld:
    made = AgentWorld(tmp_path, executable)
    made.wiring = MemoryWiring(node_objects.mac(0), file=tmp_path / "kernel.json")
    made.furnish(count=COUNT, cool_down="1s")
    serve(made.store, tmp_path / "store.sock")
    return made


class Pods:
    """What a kubelet does: start, end, ask again when it failed."""

    def __init__(self, world: AgentWorld) -> None:
        self.world = world
        self.stopping = threading.Event()
        self.alive: dict[str, str] = {}  # container -> address
        self.wrong: list[str] = []
        self.done = 0
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(WORKERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self.stopping.set()
        for thread in self._threads:
            thread.join(120)

    def beyond(self, done: int) -> bool:
        """Whether more pods than that have been started by now."""
        return self.done > done

    def _work(self, number: int) -> None:
        dice = random.Random(number)  # noqa: S311 - no secret
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            name = f"w{number}-{turn}"
            try:
                self._one(name, f"{name}-sandbox", keep=dice.random() < 0.1)
            except Exception as error:  # noqa: BLE001 - shown by the test
                self.wrong.append(f"{name}: {error!r}")
                return

    def _one(self, name: str, container: str, *, keep: bool) -> None:
        uid = node_objects.make_pod(self.world.store, name)
        runtime = self.world.runtime(container, deadline=60)
        answer = runtime.call("ADD", container, uid, name)
        if answer.code == 0:
            self.alive[container] = answer.address
            self.done += 1
            if keep and len(self.alive) < 12:
                return
        elif answer.error != 11:
            self.wrong.append(f"{name}: {answer}")
        self.world.store.delete(names.PODS, name, "default")
        ended = runtime.call("DEL", container)
        if ended.code:
            self.wrong.append(f"{name}: {ended}")
        self.alive.pop(container, None)


def podips(world: AgentWorld) -> dict[str, str]:
    found = [decode(body, PodIP) for body in world.store.list(names.PODIPS).items]
    return {
        p.spec.container_id: p.spec.addresses[0]
        for p in found
        if is_true(p.status.conditions, Type.READY)
    }


def test_killed_at_twenty_instants_every_account_agrees(world: AgentWorld) -> None:
    dice = random.Random(3)  # noqa: S311 - no secret
    agent = AgentProcess(world)
    pods = Pods(world)
    try:
        wait_for((world.folder / "conf" / "10-openeni.conflist").exists, "the agent serves")
        pods.start()
        for number in range(KILLS):
            if number % 2:  # the others meet it while it starts
                wait_for(partial(pods.beyond, pods.done), "it serves")
            pods.stopping.wait(dice.uniform(0.05, 0.5))
            agent.kill_and_start()
        pods.stop()
        assert pods.wrong == []
        wait_for(lambda: world.wiring.owners() == _by_address(pods), "the kernel agrees")
        wait_for(lambda: podips(world) == pods.alive, "the PodIPs agree")
        wait_for(lambda: world.node_status().granted == len(pods.alive), "counts agree")
        for container in list(pods.alive):
            world.delete(container)
        wait_for(lambda: world.wiring.owners() == {}, "the kernel is empty")
        wait_for(lambda: podips(world) == {}, "no PodIP is left")
    finally:
        pods.stop()
        agent.stop()
    assert "ImpossibleWorld" not in agent.log()
    assert "Traceback" not in agent.log()


def test_of_two_agents_the_second_waits_until_the_first_has_ended(world: AgentWorld) -> None:
    first = AgentProcess(world)
    try:
        wait_for((world.folder / "conf" / "10-openeni.conflist").exists, "the first serves")
        second = AgentProcess(world)
        wait_for(lambda: "waiting for it to end" in second.log(), "the second waits")
        world.add("one", "c1")
    finally:
        first.stop()
    try:
        world.add("two", "c2")
        assert len(world.wiring.owners()) == 2
    finally:
        second.stop()


def test_an_agent_that_waits_for_another_ends_when_it_is_told_to(world: AgentWorld) -> None:
    first = AgentProcess(world)
    try:
        wait_for((world.folder / "conf" / "10-openeni.conflist").exists, "the first serves")
        second = AgentProcess(world)
        wait_for(lambda: "waiting for it to end" in second.log(), "the second waits")
        second.stop()
    finally:
        first.stop()


def _by_address(pods: Pods) -> dict[str, str]:
    return {address: container for container, address in pods.alive.items()}
