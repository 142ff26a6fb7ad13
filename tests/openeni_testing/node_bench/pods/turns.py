"""Start and stop pods with openeni and with a reference, in turns, as a container runtime does.

Every function works in the network namespace of the calling thread.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from openeni_lab.runtime.cni import Attachment, NetworkConfigList, PluginCall
from openeni_lab.runtime.sandbox import Sandbox, SandboxPod, SandboxRuntime
from openeni_testing.node_bench.pods.measured import Bursts, Calls, Turns

# After a DEL the agent removes the pod's links and the kernel the namespace: not in others' time.
SETTLE_SECONDS: Final = 0.05
STARTED_AT_ONCE: Final = 4  # of the pods that only have to be there


@dataclass(frozen=True)
class Contestants:
    openeni: SandboxRuntime
    reference: SandboxRuntime
    nothing: NetworkConfigList  # with an executable that does nothing
    nothing_of_musl: NetworkConfigList

    def in_turn(self, turn: int) -> Sequence[SandboxRuntime]:
        """Return both, in an order that changes with each turn."""
        both = (self.openeni, self.reference)
        return both[:: -1 if turn % 2 else 1]

    def run_nothing(self) -> float:
        """Return the seconds of the executable that does nothing, run as a plugin is."""
        return _run(self.nothing)

    def run_nothing_of_musl(self) -> float:
        """Return the seconds of the one that is linked as openeni's is."""
        return _run(self.nothing_of_musl)

    def take_calls(self) -> tuple[Calls, Calls]:
        """Return the calls of both so far and forget them."""
        return _taken(self.openeni), _taken(self.reference)


def one_by_one(
    contestants: Contestants,
    pods: Sequence[SandboxPod],
    beside: Callable[[int], None] | None = None,
) -> Turns:
    """Start and stop each pod with one plugin, then with the other; call `beside` in each turn."""
    contestants.take_calls()
    nothing: list[float] = []
    of_musl: list[float] = []
    for turn, pod in enumerate(pods):
        for runtime in contestants.in_turn(turn):
            runtime.stop(runtime.start(pod))
            time.sleep(SETTLE_SECONDS)
        nothing.append(contestants.run_nothing())
        time.sleep(SETTLE_SECONDS)  # as before all others, whose caches others have had meanwhile
        of_musl.append(contestants.run_nothing_of_musl())
        if beside:
            beside(turn)
    return Turns(*contestants.take_calls(), nothing, of_musl)


def in_bursts(contestants: Contestants, pods: Sequence[SandboxPod], bursts: int) -> Bursts:
    """Start all pods at once, then stop them at once; repeat, each plugin in its turn.

    In each turn, as many executions of nothing are begun at once, too.
    """
    contestants.take_calls()
    nothing: list[float] = []
    with ThreadPoolExecutor(len(pods)) as threads:
        for turn in range(bursts):
            for runtime in contestants.in_turn(turn):
                list(threads.map(runtime.stop, list(threads.map(runtime.start, pods))))
                time.sleep(SETTLE_SECONDS * len(pods))
            runs = [threads.submit(contestants.run_nothing) for _ in pods]
            nothing += [run.result() for run in runs]
    return Bursts(bursts, Turns(*contestants.take_calls(), nothing, []))


def start_all(runtime: SandboxRuntime, pods: Sequence[SandboxPod]) -> list[Sandbox]:
    with ThreadPoolExecutor(STARTED_AT_ONCE) as threads:
        return list(threads.map(runtime.start, pods))


def stop_all(runtime: SandboxRuntime, sandboxes: Sequence[Sandbox]) -> None:
    with ThreadPoolExecutor(STARTED_AT_ONCE) as threads:
        list(threads.map(runtime.stop, sandboxes))


def _run(network: NetworkConfigList) -> float:
    network.add(Attachment("nothing", "/nowhere"))
    return network.calls.pop().seconds  # of a burst, any of them


def _taken(runtime: SandboxRuntime) -> Calls:
    calls: list[PluginCall] = list(runtime.calls)
    runtime.calls.clear()
    return Calls(
        [call.seconds for call in calls if call.command == "ADD"],
        [call.seconds for call in calls if call.command == "DEL"],
    )
