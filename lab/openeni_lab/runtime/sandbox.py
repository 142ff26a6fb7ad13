"""A runtime of pod sandboxes without containers: it does for a pod's network what containerd does.

A sandbox is a new network namespace with its loopback up, mounted below /run/netns as containerd
does, and attached with the node's CNI configuration. It serves churn, chaos and benchmarks, which
need thousands of pods; `hollow_node` uses it for real Pod objects. Runs on the node.
"""

import argparse
import fcntl
import json
import os
import secrets
import socket
import statistics
import struct
import sys
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from openeni_lab.machine import isolation
from openeni_lab.runtime.cni import Attachment, NetworkConfigList, PluginCall, PluginError

Json = dict[str, Any]

NETNS_FOLDER: Final = Path("/run/netns")
CONF_FOLDER: Final = Path("/etc/cni/net.d")
BIN_FOLDER: Final = Path("/opt/cni/bin")
ANNOTATIONS: Final = "io.kubernetes.cri.pod-annotations"  # containerd's capability
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1


@dataclass(frozen=True)
class SandboxPod:
    """The pod of a sandbox, as kubelet describes it to a runtime."""

    name: str
    namespace: str = "default"
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    annotations: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Sandbox:
    """A pod's network namespace, attached; `result` is the last plugin's result."""

    pod: SandboxPod
    attachment: Attachment
    result: Json

    @property
    def addresses(self) -> list[str]:
        return [str(ip["address"]).partition("/")[0] for ip in self.result.get("ips", ())]


class SandboxRuntime:
    """The sandboxes of one node. Every method may be called from many threads."""

    def __init__(self, network: NetworkConfigList) -> None:
        self.network = network
        self.sandboxes: dict[str, Sandbox] = {}  # by container id

    @property
    def calls(self) -> list[PluginCall]:
        """Return every execution of a plugin so far."""
        return self.network.calls

    def start(self, pod: SandboxPod) -> Sandbox:
        """Create a namespace, run ADD. Undoes both before it raises PluginError, as containerd."""
        container_id = secrets.token_hex(32)
        netns = make_namespace(f"cni-{uuid.uuid4()}")
        attachment = Attachment(
            container_id,
            str(netns),
            arguments={
                "K8S_POD_NAMESPACE": pod.namespace,
                "K8S_POD_NAME": pod.name,
                "K8S_POD_INFRA_CONTAINER_ID": container_id,
                "K8S_POD_UID": pod.uid,
            },
            capabilities={ANNOTATIONS: dict(pod.annotations)},
        )
        with ExitStack() as undo:
            undo.callback(remove_namespace, netns)
            undo.callback(self.network.delete, attachment)
            sandbox = Sandbox(pod, attachment, self.network.add(attachment))
            undo.pop_all()
        self.sandboxes[container_id] = sandbox
        return sandbox

    def check(self, sandbox: Sandbox) -> None:
        """Run CHECK. Raises PluginError if the sandbox is not as ADD left it."""
        self.network.check(sandbox.attachment, sandbox.result)

    def stop(self, sandbox: Sandbox) -> None:
        """Run DEL, remove the namespace. After a PluginError the sandbox stays: stop it again."""
        self.network.delete(sandbox.attachment, sandbox.result)
        remove_namespace(Path(sandbox.attachment.netns))
        self.sandboxes.pop(sandbox.attachment.container_id, None)

    def collect(self) -> None:
        """Run GC with the existing sandboxes."""
        self.network.collect(sandbox.attachment for sandbox in list(self.sandboxes.values()))


def make_namespace(name: str) -> Path:
    """Create and mount a network namespace with its loopback up, on a thread that ends."""
    place = NETNS_FOLDER / name
    failure: list[OSError] = []

    def make() -> None:
        try:
            isolation.unshare(isolation.NEW_NETWORK)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
                fcntl.ioctl(inside, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
            isolation.bind(f"/proc/self/task/{threading.get_native_id()}/ns/net", place)
        except OSError as error:
            failure.append(error)

    NETNS_FOLDER.mkdir(exist_ok=True)
    place.touch(exist_ok=False)
    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    if failure:
        place.unlink()
        raise failure[0]
    return place


def remove_namespace(place: Path) -> None:
    """Remove a network namespace if it exists."""
    if place.exists():
        isolation.unmount(place)
        place.unlink()


def churn(runtime: SandboxRuntime, pods: int, parallel: int = 1) -> None:
    """Start and stop `pods` sandboxes in bursts of `parallel`."""
    with ThreadPoolExecutor(parallel) as pool:
        for first in range(0, pods, parallel):
            last = min(first + parallel, pods)
            burst = list(
                pool.map(runtime.start, (SandboxPod(f"churn-{n}") for n in range(first, last)))
            )
            list(pool.map(runtime.stop, burst))


def summary(calls: Sequence[PluginCall]) -> dict[str, Json]:
    """Return count, failures and milliseconds (median, p90, maximum) by command."""
    grouped: dict[str, list[PluginCall]] = {}
    for call in calls:
        grouped.setdefault(call.command, []).append(call)
    return {command: _numbers(found) for command, found in grouped.items()}


def _numbers(calls: Sequence[PluginCall]) -> Json:
    times = sorted(1000 * call.seconds for call in calls)
    return {
        "count": len(times),
        "failed": sum(call.failed for call in calls),
        "median": round(statistics.median(times), 2),
        "p90": round(times[int(0.9 * (len(times) - 1))], 2),
        "max": round(times[-1], 2),
    }


def main() -> int:
    """Run `python -m openeni_lab.runtime.sandbox [--pods N] [--parallel N] COMMAND`."""
    parser = argparse.ArgumentParser(prog="openeni_lab.runtime.sandbox", description=__doc__)
    parser.add_argument("do", choices=["churn", "status", "version"])
    parser.add_argument("--conf", type=Path, default=CONF_FOLDER, help="folder of the conflist")
    parser.add_argument("--bin", type=Path, default=BIN_FOLDER, help="folder of the plugins")
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("--parallel", type=int, default=1)
    options = parser.parse_args()
    try:
        network = NetworkConfigList.load(options.conf, [options.bin])
        if options.do == "churn":
            runtime = SandboxRuntime(network)
            churn(runtime, options.pods, options.parallel)
            print(json.dumps(summary(runtime.calls)))
        elif options.do == "version":
            print(json.dumps(network.versions()))
        else:
            network.status()
    except (PluginError, OSError, ValueError) as error:
        print(f"openeni-lab runtime: {error}", file=sys.stderr)
        return 1
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
