"""Run a connectivity check in a pod, on a node, at the gateway, on the remote VM or outside."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from openeni_lab.kubernetes.api import Api
from openeni_lab.layout import REMOTE_VM
from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.product.connectivity import Check, Place, RunningPod

Json = dict[str, Any]

CHECK_SECONDS: Final = 60.0


@dataclass(frozen=True)
class CheckResult:
    """The result of a check; `answer` is the end of its output."""

    check: Check
    ok: bool
    answer: str = ""


@dataclass(frozen=True)
class Reach:
    """Access to the places of one lab that checks run at."""

    kubeconfig: Path
    kubectl: Path
    kubectl_cache: Path
    machine: Machine
    nodes: Mapping[str, Machine]

    def run(self, check: Check) -> CheckResult:
        """Run one check; a failure is a result, not an exception."""
        try:
            answer = self.out(check.place, check.name, check.argv)
        except (MachineError, subprocess.TimeoutExpired) as error:
            return CheckResult(check, ok=False, answer=str(error))
        return CheckResult(check, check.expected in answer, answer.strip()[-200:] or "no answer")

    def out(self, place: Place, name: str, argv: Sequence[str]) -> str:
        """Return the output of `argv` at `place`, standard error included."""
        if place is Place.POD:
            return self.in_pod(name, argv)
        if place is Place.NODE:
            return _text(self.nodes[name], argv)
        if place is Place.GATEWAY:
            return _text(self.machine, argv)
        host = REMOTE_VM if place is Place.REMOTE else "outside"
        return _text(self.machine, ["ip", "netns", "exec", host, *argv])

    def in_pod(self, name: str, argv: Sequence[str], namespace: str = "default") -> str:
        """Run a command in a pod, through the API server and its kubelet."""
        return self.kubectl_out("exec", "--namespace", namespace, name, "--", *argv)

    def kubectl_out(self, *arguments: str) -> str:
        """Return the output of kubectl, standard error included."""
        own = (f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.kubectl_cache}")
        done = subprocess.run(
            [str(self.kubectl), *own, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CHECK_SECONDS,
            check=False,
        )
        return done.stdout.decode(errors="replace")

    def pods(self, app: str) -> list[RunningPod]:
        """Return the ready pods of an app, sorted by name."""
        api = Api(self.kubeconfig)
        addresses = {n["metadata"]["name"]: _internal(n) for n in api.items("/api/v1/nodes")}
        listed = api.items("/api/v1/namespaces/default/pods", labelSelector=f"app={app}")
        return [
            RunningPod(
                p["metadata"]["name"],
                p["metadata"]["namespace"],
                tuple(ip["ip"] for ip in p["status"]["podIPs"]),
                p["spec"]["nodeName"],
                addresses[p["spec"]["nodeName"]],
            )
            for p in sorted(listed, key=lambda p: str(p["metadata"]["name"]))
            if is_ready(p) and "deletionTimestamp" not in p["metadata"]
        ]


def is_ready(found: Json) -> bool:
    """Return True if an object of any kind has the condition Ready=True."""
    conditions = found.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _internal(node: Json) -> str:
    addresses = node.get("status", {}).get("addresses", [])
    return next((str(a["address"]) for a in addresses if a["type"] == "InternalIP"), "")


def _text(machine: Machine, argv: Sequence[str]) -> str:
    done = machine.run(argv, timeout=CHECK_SECONDS)
    return (done.out + done.err).decode(errors="replace")
