"""A cluster in memory for the command line: its objects, the logs of its pods, its refusals."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from openeni_cli.__main__ import run
from openeni_cli.cluster import Cluster
from openeni_crds.meta import Json
from openeni_crds.names import (
    DAEMONSETS,
    DEPLOYMENTS,
    ENIPOOLS,
    ENIS,
    LEASES,
    NODES,
    PODIPS,
    PODS,
    Kind,
)
from openeni_kube.containers.exec import ExecRequest, ExecResult
from openeni_kube.containers.logs import LogRequest
from openeni_kube.store import NotFoundError, Page, StoreError
from openeni_testing.objects import eni_body, podip_body, pool_body, port_status
from openeni_testing.store.memory import MemoryStore

HOME: Final = "openeni-system"
NAME: Final = {"app.kubernetes.io/name": "openeni"}
SERVER: Final = "openstack:///6a2c5b0e-0f5c-4d7e-9a44-1f3f0f3a7f01"


def ago(seconds: float) -> str:
    """Return the time so many seconds ago, as metav1.Time prints it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(
    type_: str, reason: str, *, status: str = "False", since: float = 3600, message: str = ""
) -> Json:
    """Return a condition; `since` is its age in seconds."""
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": ago(since),
    }


READY: Final = condition("Ready", "Ready", status="True")


class AskedStore(MemoryStore):
    """Remembers which kinds were read, and refuses those that it is told to."""

    def __init__(self) -> None:
        self.created = 3600.0  # age in seconds of what is created next
        self.asked: set[Kind] = set()
        self.refused: dict[Kind, StoreError] = {}
        self.damaged: dict[str, tuple[str, str, str]] = {}
        super().__init__(now=lambda: ago(self.created))

    def get(self, kind: Kind, name: str, namespace: str = "") -> Json:
        self._ask(kind)
        return self._damaged(super().get(kind, name, namespace))

    def list(self, kind: Kind, *, field_selector: str = "", label_selector: str = "") -> Page:
        self._ask(kind)
        page = super().list(kind, field_selector=field_selector, label_selector=label_selector)
        return Page(tuple(map(self._damaged, page.items)), page.resource_version)

    def damage(self, body: Json, part: str, field_name: str, value: str) -> None:
        """Show an object with another value in a field, as another release may write it."""
        self.damaged[body["metadata"]["uid"]] = (part, field_name, value)

    def _damaged(self, body: Json) -> Json:
        change = self.damaged.get(body["metadata"]["uid"])
        if change is None:
            return body
        part, field_name, value = change
        return body | {part: body[part] | {field_name: value}}

    def _ask(self, kind: Kind) -> None:
        self.asked.add(kind)
        if kind in self.refused:
            raise self.refused[kind]


@dataclass
class MemoryLogs:
    """`PodLogs` in memory, by the pod's name and whether it is the log before the restart."""

    texts: dict[tuple[str, bool], list[str]] = field(
        default_factory=dict[tuple[str, bool], list[str]]
    )
    refused: dict[str, StoreError] = field(default_factory=dict[str, StoreError])

    def lines(self, request: LogRequest) -> Iterator[str]:
        if request.pod in self.refused:
            raise self.refused[request.pod]
        if (request.pod, request.previous) not in self.texts:
            raise NotFoundError(404, f"previous terminated container of {request.pod} not found")
        found = self.texts[request.pod, request.previous]
        yield from found if request.tail is None else found[-request.tail :]


@dataclass
class MemoryExec:
    """`PodExec` in memory: what the program in each pod comes to, by the pod's name."""

    results: dict[str, ExecResult | StoreError] = field(
        default_factory=dict[str, ExecResult | StoreError]
    )
    asked: list[ExecRequest] = field(default_factory=list[ExecRequest])

    def answer(self, pod: str, answer: Struct, code: int = 0, *, stderr: str = "") -> None:
        self.results[pod] = ExecResult(code, msgspec.json.encode(answer) + b"\n", stderr)

    def run(self, request: ExecRequest) -> ExecResult:
        self.asked.append(request)
        result = self.results[request.pod]
        if isinstance(result, StoreError):
            raise result
        return result


@dataclass
class CliCluster:
    """A cluster with openeni in it, and the command line that asks it."""

    store: AskedStore = field(default_factory=AskedStore)
    logs: MemoryLogs = field(default_factory=MemoryLogs)
    execs: MemoryExec = field(default_factory=MemoryExec)

    def run(self, *words: str) -> int:
        """Run `openeni` with these words; return its exit code."""
        return run(list(words), connect=self._connect)

    def _connect(self, _kubeconfig: str, _context: str) -> Cluster:
        return Cluster(self.store, self.logs, self.execs)

    def put(
        self, kind: Kind, body: Json, status: Json | None = None, *, created: float = 3600
    ) -> Json:
        """Create an object of this age in seconds, and its status."""
        self.store.created = created
        made = self.store.create(kind, body)
        if status is None:
            return made
        meta = {k: made["metadata"][k] for k in ("name", "namespace") if k in made["metadata"]}
        applied = {"metadata": meta, "status": status}
        return self.store.apply(kind, applied, manager="tests", subresource="status")

    def install(self, *nodes: str) -> None:
        """Put what a healthy installation has: workloads, a leader, agents on these nodes."""
        meta = {"name": "openeni-operator", "namespace": HOME, "labels": NAME}
        template: Json = {"spec": {"containers": [{"name": "operator", "env": []}]}}
        deployment: Json = {
            "metadata": meta,
            "spec": {"replicas": 1, "template": template},
            "status": {"replicas": 1},
        }
        self.put(DEPLOYMENTS, deployment)
        spec = {"holderIdentity": "openeni-operator-x", "renewTime": ago(2)}
        self.put(LEASES, {"metadata": {**meta, "labels": {}}, "spec": spec})
        counts = {"desiredNumberScheduled": len(nodes), "currentNumberScheduled": len(nodes)}
        daemonset: Json = {
            "metadata": {**meta, "name": "openeni-agent"},
            "spec": {},
            "status": counts,
        }
        self.put(DAEMONSETS, daemonset)
        self.workload_pod("openeni-operator-x", "operator", "control-plane")
        for node in nodes:
            self.node(node)
            self.workload_pod(f"openeni-agent-{node}", "agent", node)

    def node(self, name: str, *, pods: str = "110", **spec: Any) -> None:
        """Put a Node that is a server of OpenStack and has a veth datapath."""
        labels = {"datapath.openeni.io/veth": "true"}
        self.put(
            NODES,
            {
                "metadata": {"name": name, "labels": labels},
                "spec": {"providerID": SERVER, **spec},
                "status": {"allocatable": {"pods": pods}},
            },
        )

    def workload_pod(self, name: str, component: str, node: str, **status: Any) -> None:
        """Put a pod of openeni's own, ready unless its status says otherwise."""
        ready: Json = {"conditions": [condition("Ready", "", status="True")], "phase": "Running"}
        running: Json = {"name": component, "restartCount": 0, "state": {"running": {}}}
        labels = {**NAME, "app.kubernetes.io/component": component}
        body: Json = {
            "metadata": {"name": name, "namespace": HOME, "labels": labels},
            "spec": {"nodeName": node, "containers": [{"name": component, "env": []}]},
        }
        self.put(PODS, body, {**ready, "containerStatuses": [running]} | status)

    def pool(self, name: str = "pods", *conditions: Json, **more: Any) -> None:
        """Put a pool for every pod; without conditions it is Ready."""
        body = pool_body(name)
        body["spec"] |= {"podSelector": {}} | more.pop("spec", {})
        self.put(ENIPOOLS, body, {"conditions": list(conditions or (READY,))} | more)

    def eni(self, name: str, *conditions: Json, on: str = "n1", **more: Any) -> None:
        """Put an ENI of the pool `pods`; without conditions it is Ready."""
        status: Json = {"port": port_status(name)} | more
        body = eni_body(name, node=on)
        self.put(ENIS, body, {"conditions": list(conditions or (READY,))} | status)

    def podip(self, name: str, *conditions: Json, **spec: Any) -> None:
        """Put a PodIP in the namespace default; without conditions it is Ready."""
        created = spec.pop("created", 3600)
        body = podip_body(name)
        body["spec"] |= spec
        self.put(PODIPS, body, {"conditions": list(conditions or (READY,))}, created=created)
