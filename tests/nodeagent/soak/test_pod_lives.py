"""kill -9 of the agent at random instants while pods come and go: nothing is lost or granted twice.

The agent is a separate process; the cluster is in this process's memory, the kernel in a file that
survives the agent. At every quiet point the runtime's living containers, the kernel, the journal,
the PodIPs and the ENI's counts are compared. OPENENI_LIVES sets how many pods get an address,
OPENENI_SEED what happens when.
"""

import json
import os
import random
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from openeni_testing.agent.host import AgentHost
from openeni_testing.agent.nursery import KERNEL_FILE, Agents
from openeni_testing.soak import observer
from openeni_testing.soak.kubelet import Kubelet
from openeni_testing.store.remote import serve
from openeni_testing.waiting import wait_for

LIVES: Final = int(os.environ.get("OPENENI_LIVES", "250"))
SEED: Final = int(os.environ.get("OPENENI_SEED") or random.SystemRandom().randrange(10**6))
LIVES_PER_ROUND: Final = 125  # between two quiet points
MOST_PODS, MOST_CALLS = 20, 6
ADDRESSES: Final = 30
COOL_DOWN: Final = 1  # seconds
SOONEST_KILL, LATEST_KILL = 0.02, 0.6  # seconds after the last one; some hit it while it starts
POLL_SECONDS: Final = 0.001
SECONDS: Final = 300.0 + LIVES / 4


@dataclass
class FileSpace:
    """A file that stands for a pod's network namespace."""

    file: Path

    @property
    def path(self) -> str:
        return str(self.file)

    def close(self) -> None:
        self.file.unlink()


class Lives:
    """Pods on a node whose agent is killed again and again."""

    def __init__(self, host: AgentHost, agents: Agents, dice: random.Random) -> None:
        self.host, self.agents, self.dice = host, agents, dice
        self.kubelet = Kubelet(host, self._make_space, COOL_DOWN, deadline=60)
        self.agent = agents.start_agent()
        self.kills = 0
        self._next_kill = 0.0

    def live(self, lives: int) -> None:
        """Let pods come and go until so many have had an address, then come to rest."""
        while self.kubelet.lives < lives:
            if len(self.kubelet.calls()) < MOST_CALLS:
                self._change()
            self.kubelet.advance()
            if time.monotonic() >= self._next_kill:
                self._kill()
            time.sleep(POLL_SECONDS)
        self.settle()

    def settle(self) -> None:
        wait_for(self.kubelet.is_idle, "every pod has an address")
        wait_for(lambda: self._unsettled() == [], "all agree")
        assert self.kubelet.problems == []

    def end(self) -> None:
        for pod in list(self.kubelet.pods.values()):
            self.kubelet.delete_pod(pod)
        self.settle()
        assert self.kubelet.pods == {}

    def _change(self) -> None:
        pods = [pod for pod in self.kubelet.pods.values() if pod.ready and pod.wanted]
        room = len(self.kubelet.pods) < MOST_PODS
        if room and (not pods or self.dice.random() < 0.5):
            self.kubelet.add_pod()
        elif pods and self.dice.random() < 0.9:
            self.kubelet.delete_pod(self.dice.choice(pods))
        elif pods:
            self.kubelet.replace_sandbox(self.dice.choice(pods))

    def _kill(self) -> None:
        self.agent.kill()
        self.agent = self.agents.start_agent()
        self.kills += 1
        self._next_kill = time.monotonic() + self.dice.uniform(SOONEST_KILL, LATEST_KILL)

    def _unsettled(self) -> list[str]:
        running = self.kubelet.running()
        owners = {a: s.container for s in running for a in s.addresses}
        journal, wrong = observer.owners_in_journal(self.host.settings.journal)
        podips, not_ready = observer.owners_in_podips(self.host.store)
        kernel = {a: pod["container"] for a, pod in _kernel(self.host).items()}
        for name, found in (("journal", journal), ("PodIPs", podips), ("kernel", kernel)):
            different = observer.differences(owners.items(), found.items())
            wrong += [f"{name}: {difference}" for difference in different]
        if self.host.node_status().granted != len(running):
            wrong.append(f"{self.host.node_status()} for {len(running)} pods")
        assert wrong + not_ready == [], "\n".join(wrong + not_ready)
        return []

    def _make_space(self, container: str) -> FileSpace:
        file = self.host.folder / "netns" / container
        file.touch()
        return FileSpace(file)


def _kernel(host: AgentHost) -> dict[str, dict[str, str]]:
    file = host.folder / KERNEL_FILE
    found: dict[str, dict[str, str]] = json.loads(file.read_text()) if file.exists() else {}
    return found


@pytest.fixture
def lives(tmp_path: Path, executable: Path) -> Generator[Lives]:
    print(f"OPENENI_SEED={SEED}")  # noqa: T201 shown if the test fails
    host = AgentHost(tmp_path, executable)
    host.create_objects(count=ADDRESSES, cool_down=f"{COOL_DOWN}s")
    serve(host.store, tmp_path / "store.sock")
    with Agents(host, "memory") as agents:
        made = Lives(host, agents, random.Random(SEED))  # noqa: S311 no secret
        wait_for(host.conflist.exists, "the agent serves")
        yield made
        made.kubelet.close()


def test_a_pod_is_served_as_long_as_the_agent_runs(lives: Lives) -> None:
    """What happens to the journal must happen to one that an agent has read."""
    pod = lives.kubelet.add_pod()
    wait_for(lives.kubelet.is_idle, "the pod has an address")
    assert pod.ready
    assert lives.kubelet.is_served(pod.ready)
    lives.agent.kill()
    assert not lives.kubelet.is_served(pod.ready)


@pytest.mark.exhaustive
@pytest.mark.timeout(SECONDS)
def test_killed_at_random_instants_every_account_agrees(lives: Lives) -> None:
    for round_ends in range(LIVES_PER_ROUND, LIVES + 1, LIVES_PER_ROUND):
        lives.live(round_ends)
        lives.host.store.compact()
    lives.end()
    assert lives.kills > LIVES / 100, "it was hardly ever killed"
    log = lives.agents.log()
    assert "InvariantError" not in log
    assert "Traceback" not in log
