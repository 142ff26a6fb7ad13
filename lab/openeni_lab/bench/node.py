"""The benchmark's part on a node: start and stop sandboxes with openeni and with a reference.

Runs as `python -m openeni_lab.bench.node`, reads its input as JSON from standard input, and prints
the command and the seconds of every call as the runtime measured them, execution included. The two
plugins take turns, so that other load on the machine affects both alike.
"""

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from openeni_lab.runtime.cni import NetworkConfigList, PluginCall, PluginError
from openeni_lab.runtime.sandbox import BIN_FOLDER, CONF_FOLDER, SandboxPod, SandboxRuntime

Json = dict[str, Any]


def one_by_one(runtimes: Sequence[SandboxRuntime], pods: Sequence[SandboxPod]) -> None:
    """Start and stop each pod with one plugin, then with the next."""
    for pod in pods:
        for runtime in runtimes:
            runtime.stop(runtime.start(pod))


def in_bursts(runtimes: Sequence[SandboxRuntime], pods: Sequence[SandboxPod], size: int) -> None:
    """Start `size` pods in parallel, then stop them; repeat with the next plugin."""
    with ThreadPoolExecutor(size) as threads:
        for first in range(0, len(pods), size):
            burst = pods[first : first + size]
            for runtime in runtimes:
                list(threads.map(runtime.stop, list(threads.map(runtime.start, burst))))


def main() -> int:
    orders: Json = json.load(sys.stdin)
    plugins = [BIN_FOLDER, Path(orders["plugins"])]
    runtimes = {
        "openeni": SandboxRuntime(NetworkConfigList.load(CONF_FOLDER, plugins)),
        "reference": SandboxRuntime(NetworkConfigList(orders["reference"], plugins)),
    }
    pods = [SandboxPod(p["name"], p["namespace"], p["uid"]) for p in orders["pods"]]
    single, burst = pods[: orders["single"]], pods[orders["single"] :]
    answer: dict[str, dict[str, list[Json]]] = {}
    try:
        one_by_one(list(runtimes.values()), single)
        answer["single"] = {name: _taken(r) for name, r in runtimes.items()}
        in_bursts(list(runtimes.values()), burst, orders["burst"])
        answer["burst"] = {name: _taken(r) for name, r in runtimes.items()}
    except PluginError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print(json.dumps(answer))
    return 0


def _taken(runtime: SandboxRuntime) -> list[Json]:
    """Remove and return the runtime's calls so far."""
    calls = list(runtime.calls)
    runtime.calls.clear()
    return [_call_fields(call) for call in calls]


def _call_fields(call: PluginCall) -> Json:
    return {"command": call.command, "container": call.container_id, "seconds": call.seconds}


if __name__ == "__main__":
    sys.exit(main())
