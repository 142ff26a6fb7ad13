"""kill -9 of the agent at random instants while pods come and go: nothing is lost or granted twice.

The agent is a separate process; the cluster is in this process's memory, the kernel in a file that
survives the agent. Finally the runtime's living containers, the kernel, the PodIPs and the ENI's
counts are compared.
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
from openeni_testing.agent.host import AgentHost, environment
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.store.remote import serve
from openeni_testing.waiting import wait_for

KILLS = 20
WORKERS = 6
COUNT = 30


class AgentProcess:
    """The agent as a process that can be killed and started again."""

    def __init__(self, host: AgentHost) -> None:
        self._host = host
        self._log = (host.folder / "agent.log").open("ab")
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
        return (self._host.folder / "agent.log").read_text()

    def _start(self) -> "subprocess.Popen[bytes]":
        variables = os.environ | environment(self._host.folder, self._host.executable)
        variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        return subprocess.Popen(
            [sys.executable, "-m", "openeni_testing.agent.process", str(self._host.folder)],
            env=variables,
            stdout=self._log,
            stderr=self._log,
        )


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    made = AgentHost(tmp_path, executable)
    made.datapath = MemoryDatapath(node_objects.mac(0), file=tmp_path / "kernel.json")
    made.create_objects(count=COUNT, cool_down="1s")
    serve(made.store, tmp_path / "store.sock")
    return made


class Pods:
    """Starts and ends pods as a kubelet does, and retries what failed."""

    def __init__(self, host: AgentHost) -> None:
        self.host = host
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
        """Return True if more pods than that have been started."""
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
        uid = node_objects.make_pod(self.host.store, name)
        runtime = self.host.runtime(container, deadline=60)
        answer = runtime.call("ADD", container, uid, name)
        if answer.code == 0:
            self.alive[container] = answer.address
            self.done += 1
            if keep and len(self.alive) < 12:
                return
        elif answer.error != 11:
            self.wrong.append(f"{name}: {answer}")
        self.host.store.delete(names.PODS, name, "default")
        ended = runtime.call("DEL", container)
        if ended.code:
            self.wrong.append(f"{name}: {ended}")
        self.alive.pop(container, None)


def podips(host: AgentHost) -> dict[str, str]:
    found = [decode(body, PodIP) for body in host.store.list(names.PODIPS).items]
    return {
        p.spec.container_id: p.spec.addresses[0]
        for p in found
        if is_true(p.status.conditions, Type.READY)
    }


def test_killed_at_twenty_instants_every_account_agrees(host: AgentHost) -> None:
    dice = random.Random(3)  # noqa: S311 - no secret
    agent = AgentProcess(host)
    pods = Pods(host)
    try:
        wait_for((host.folder / "conf" / "10-openeni.conflist").exists, "the agent serves")
        pods.start()
        for number in range(KILLS):
            if number % 2:  # the others meet it while it starts
                wait_for(partial(pods.beyond, pods.done), "it serves")
            pods.stopping.wait(dice.uniform(0.05, 0.5))
            agent.kill_and_start()
        pods.stop()
        assert pods.wrong == []
        wait_for(lambda: host.datapath.owners() == _by_address(pods), "the kernel agrees")
        wait_for(lambda: podips(host) == pods.alive, "the PodIPs agree")
        wait_for(lambda: host.node_status().granted == len(pods.alive), "counts agree")
        for container in list(pods.alive):
            host.delete(container)
        wait_for(lambda: host.datapath.owners() == {}, "the kernel is empty")
        wait_for(lambda: podips(host) == {}, "no PodIP is left")
    finally:
        pods.stop()
        agent.stop()
    assert "InvariantError" not in agent.log()
    assert "Traceback" not in agent.log()


def test_an_agent_says_its_version_before_anything_else(host: AgentHost) -> None:
    agent = AgentProcess(host)
    try:
        wait_for(agent.log, "the agent logs something")
        assert f"agent {names.BUNDLE_VERSION} starts" in agent.log().splitlines()[0]
    finally:
        agent.stop()


def test_of_two_agents_the_second_waits_until_the_first_has_ended(host: AgentHost) -> None:
    first = AgentProcess(host)
    try:
        wait_for((host.folder / "conf" / "10-openeni.conflist").exists, "the first serves")
        second = AgentProcess(host)
        wait_for(lambda: "waiting for it to end" in second.log(), "the second waits")
        host.add("one", "c1")
    finally:
        first.stop()
    try:
        host.add("two", "c2")
        assert len(host.datapath.owners()) == 2
    finally:
        second.stop()


def test_an_agent_that_waits_for_another_ends_on_sigterm(host: AgentHost) -> None:
    first = AgentProcess(host)
    try:
        wait_for((host.folder / "conf" / "10-openeni.conflist").exists, "the first serves")
        second = AgentProcess(host)
        wait_for(lambda: "waiting for it to end" in second.log(), "the second waits")
        second.stop()
    finally:
        first.stop()


def _by_address(pods: Pods) -> dict[str, str]:
    return {address: container for container, address in pods.alive.items()}
