"""A kubelet and its runtime: pods come and go by the real CNI executable; failures are retried.

Nothing blocks: `advance` goes on with every pod whose call has ended. It notes what a runtime must
never see: an address of two pods, one that was given again before its cool-down was over, a DEL
that fails though the executable is there.
"""

import json
import subprocess  # noqa: TC003 - evaluated with the dataclass
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from openeni_crds import names
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import Answer, Process, Runtime
from openeni_testing.agent.host import AgentHost

TRY_AGAIN: Final = 11  # CNI's error code
END_SECONDS: Final = 60


class Space(Protocol):
    """A pod's network namespace."""

    @property
    def path(self) -> str: ...
    def close(self) -> None: ...


@dataclass
class Sandbox:
    """One container of a pod, from its ADD to its DEL."""

    container: str
    pod: "Pod"
    space: Space
    call: "subprocess.Popen[str] | None" = None
    command: str = ""
    begun: float = 0.0  # the call, by time.monotonic()
    addresses: tuple[str, ...] = ()  # answered by ADD
    result: Any = None

    @property
    def is_ready(self) -> bool:
        return bool(self.addresses) and not self.command


@dataclass
class Pod:
    name: str
    uid: str
    host_port: int
    wanted: bool = True
    sandboxes: list[Sandbox] = field(default_factory=list[Sandbox])  # the newest is the last

    @property
    def ready(self) -> Sandbox | None:
        """The pod's sandbox, if it is the only one and has an address."""
        return self.sandboxes[0] if [s.is_ready for s in self.sandboxes] == [True] else None


@dataclass
class Kubelet:
    """The pods of one node. `make_space` makes the namespace of a sandbox."""

    host: AgentHost
    make_space: Callable[[str], Space]
    cool_down: float  # seconds, of the pool
    deadline: int = 20  # seconds, of an ADD
    pods: dict[str, Pod] = field(default_factory=dict[str, Pod])
    problems: list[str] = field(default_factory=list[str])
    failures: list[str] = field(default_factory=list[str])  # of ADDs, which are retried
    lives: int = 0  # sandboxes that were answered with an address
    _number: int = 0
    _owners: dict[str, str] = field(default_factory=dict[str, str])  # address -> container
    _ended: dict[str, float] = field(default_factory=dict[str, float])  # address -> DEL's begin

    def add_pod(self) -> Pod:
        """Create a pod in the API; its sandbox follows."""
        self._number += 1
        name = f"p{self._number}"
        uid = node_objects.make_pod(self.host.store, name)
        pod = self.pods[name] = Pod(name, uid, 20000 + self._number % 10000)
        self._start_sandbox(pod)
        return pod

    def delete_pod(self, pod: Pod) -> None:
        """Delete a pod from the API; its sandbox ends as soon as no call of it runs."""
        pod.wanted = False
        self.host.store.delete(names.PODS, pod.name, "default")
        self.advance()

    def replace_sandbox(self, pod: Pod) -> None:
        """Start a second sandbox of a pod; the first one's DEL follows, as after its crash."""
        if (old := pod.ready) is not None:
            self._start_sandbox(pod)
            self._delete(old)

    def calls(self) -> list[Sandbox]:
        """Return the sandboxes with a call that runs."""
        return [s for pod in self.pods.values() for s in pod.sandboxes if s.call]

    def running(self) -> list[Sandbox]:
        """Return the sandboxes that have an address, and no call that runs."""
        return [s for pod in self.pods.values() for s in pod.sandboxes if s.is_ready]

    def is_idle(self) -> bool:
        """Return True if every pod has one sandbox with an address, and no call runs."""
        self.advance()
        return all(pod.wanted and pod.ready for pod in self.pods.values())

    def advance(self) -> None:
        """Go on with every pod whose call has ended."""
        for pod in list(self.pods.values()):
            for sandbox in list(pod.sandboxes):
                if sandbox.call is not None and sandbox.call.poll() is not None:
                    self._ended_call(sandbox)
                if sandbox.is_ready and not pod.wanted:
                    self._delete(sandbox)
            if not pod.sandboxes and not pod.wanted:
                del self.pods[pod.name]
            elif not pod.sandboxes:
                self._start_sandbox(pod)

    def check(self, sandbox: Sandbox) -> str:
        """Return what CHECK finds, "" if the pod is as planned."""
        runtime = self._runtime(sandbox)
        answer = runtime.call("CHECK", sandbox.container, prevResult=sandbox.result)
        return "" if answer.code == 0 else f"{sandbox.pod.name}: {answer.body}"

    def is_served(self, sandbox: Sandbox) -> bool:
        """Return True if an agent answers, whatever it finds."""
        answer = self._runtime(sandbox).call("CHECK", sandbox.container, prevResult=sandbox.result)
        return "the node agent does not answer" not in answer.body.get("msg", "")

    def close(self) -> None:
        """Kill what runs, and leave the namespaces."""
        for pod in self.pods.values():
            for sandbox in pod.sandboxes:
                if sandbox.call is not None:
                    sandbox.call.kill()
                    sandbox.call.communicate(timeout=END_SECONDS)
                sandbox.space.close()

    def _start_sandbox(self, pod: Pod) -> None:
        self._number += 1
        container = f"c{self._number}"
        sandbox = Sandbox(container, pod, self.make_space(container))
        pod.sandboxes.append(sandbox)
        mapping = {"hostPort": pod.host_port, "containerPort": 80, "protocol": "tcp"}
        config = {"runtimeConfig": {"portMappings": [mapping]}} if self._number % 3 == 0 else {}
        self._call(sandbox, "ADD", **config)

    def _delete(self, sandbox: Sandbox) -> None:
        """From now on the addresses may be others', after their cool-down."""
        for address in sandbox.addresses:
            if self._owners.get(address) == sandbox.container:
                del self._owners[address]
            self._ended[address] = time.monotonic()
        self._call(sandbox, "DEL")

    def _call(self, sandbox: Sandbox, command: str, **config: object) -> None:
        pod = sandbox.pod
        sandbox.command, sandbox.begun = command, time.monotonic()
        sandbox.call = self._runtime(sandbox).start(
            command, sandbox.container, pod.uid, pod.name, **config
        )

    def _runtime(self, sandbox: Sandbox) -> Runtime:
        host = self.host
        return Runtime(host.executable, host.settings.run, Path(sandbox.space.path), self.deadline)

    def _ended_call(self, sandbox: Sandbox) -> None:
        assert sandbox.call is not None
        answer = _answer_of(sandbox.call)
        sandbox.call = None
        if sandbox.command == "ADD":
            self._added(sandbox, answer)
        elif answer.code == 0:
            sandbox.space.close()
            sandbox.pod.sandboxes.remove(sandbox)
        else:
            if answer.code > 0 and answer.error != TRY_AGAIN:
                self.problems.append(f"DEL of {sandbox.container}: {answer}")
            self._call(sandbox, "DEL")

    def _added(self, sandbox: Sandbox, answer: Answer) -> None:
        if answer.code != 0:
            self.failures.append(f"{sandbox.container}: {answer.body}")
            self._delete(sandbox)
            return
        sandbox.command, sandbox.result = "", answer.body
        given = (str(one["address"]).partition("/")[0] for one in answer.body["ips"])
        sandbox.addresses = tuple(given)
        self.lives += 1
        for address in sandbox.addresses:
            self._note_grant(sandbox, address)

    def _note_grant(self, sandbox: Sandbox, address: str) -> None:
        owner = self._owners.get(address)
        if owner is not None:
            self.problems.append(f"{address} given to {sandbox.container} while {owner} has it")
        self._owners[address] = sandbox.container
        cooled = time.monotonic() - self._ended.get(address, float("-inf"))
        if cooled < self.cool_down:
            self.problems.append(f"{address} of {sandbox.container} has cooled for {cooled:.3f} s")


def _answer_of(call: Process) -> Answer:
    """Return the answer of a call that has ended; of one that was killed, it may be a part."""
    out, err = call.communicate(timeout=END_SECONDS)
    body: Any = {}
    with suppress(ValueError):
        body = json.loads(out)
    return Answer(call.returncode, body, err)
