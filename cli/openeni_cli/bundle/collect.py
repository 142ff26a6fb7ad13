"""Collect what somebody who helps needs to see: objects, events, logs. Secrets are never read."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from openeni_cli.bundle.redact import redact, redact_text
from openeni_cli.cluster import LEASE, SELECTOR_RELEASE, Cluster, asked
from openeni_cli.failures import CommandError, explain
from openeni_cli.status.observe import component_of, observe, workloads
from openeni_cli.status.report import StatusReport
from openeni_cli.status.workloads import Workloads
from openeni_crds.meta import Json
from openeni_crds.names import (
    BUNDLE_VERSION,
    CRDS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENIPOOLS,
    ENIS,
    EVENTS,
    GROUP,
    LEASES,
    NODES,
    PODIPS,
    PODS,
    SELECTOR_OURS,
    Kind,
)
from openeni_kube.containers.logs import LogRequest
from openeni_kube.store import StoreError
from openeni_kube.wire import format_time

ABOUT: Final = frozenset({ENIPOOLS.name, ENIS.name, PODIPS.name})  # kinds whose events are kept
LABELS: Final = {DEPLOYMENTS: SELECTOR_RELEASE, DAEMONSETS: SELECTOR_RELEASE, PODS: SELECTOR_OURS}
FIELDS: Final = {LEASES: f"metadata.name={LEASE}"}
KINDS: Final = (ENIPOOLS, ENIS, PODIPS, NODES, DEPLOYMENTS, DAEMONSETS, PODS, LEASES)


@dataclass(frozen=True)
class Bounds:
    """How much of the logs is taken."""

    agents: int  # pods; those of nodes with problems first
    tail: int  # lines of each container


class Manifest(Struct, frozen=True, rename="camel"):
    """What a bundle has, and what could not be read."""

    collected_at: str
    version: str  # of this command
    files: tuple[str, ...]
    failures: tuple[str, ...]


@dataclass
class Collector:
    """Yields the files of a bundle; a part that cannot be read is noted, and the rest goes on."""

    cluster: Cluster
    bounds: Bounds
    now: datetime
    files: list[str] = field(default_factory=list[str])
    failures: list[str] = field(default_factory=list[str])

    def collect(self) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents; the manifest comes last."""
        for name, data in self._parts():
            self.files.append(name)
            yield name, data
        yield "manifest.json", _json(self.manifest())

    def manifest(self) -> Manifest:
        at = format_time(self.now)
        return Manifest(at, BUNDLE_VERSION, tuple(self.files), tuple(self.failures))

    def _parts(self) -> Iterator[tuple[str, bytes]]:
        report: StatusReport | None = None
        found = Workloads()
        try:
            found = workloads(self.cluster)
            report = observe(self.cluster, self.now)
            yield "status.json", _json(redact(msgspec.to_builtins(report)))
        except CommandError as error:
            self.failures.append(str(error))
        for kind in KINDS:
            yield from self._objects(kind)
        yield from self._crds()
        yield from self._events({key["metadata"]["namespace"] for key in found.deployments})
        for pod in _chosen(found.pods, report, self.bounds.agents):
            yield from self._logs(pod)

    def _objects(self, kind: Kind) -> Iterator[tuple[str, bytes]]:
        """Yield the objects of a kind, one in each line: there may be very many."""
        labels, fields = LABELS.get(kind, ""), FIELDS.get(kind, "")
        try:
            with asked(f"cannot list {kind.plural}"):
                pages = self.cluster.store.pages(kind, field_selector=fields, label_selector=labels)
                yield f"objects/{kind.plural}.jsonl", b"".join(map(_lines, pages))
        except CommandError as error:
            self.failures.append(str(error))

    def _crds(self) -> Iterator[tuple[str, bytes]]:
        """Yield the versions of the CRDs, and not what they define."""
        try:
            found = [b for b in self.cluster.objects(CRDS) if b["spec"].get("group") == GROUP]
        except CommandError as error:
            self.failures.append(str(error))
            return
        shown = [{"metadata": b["metadata"], "status": b.get("status", {})} for b in found]
        yield "objects/crds.jsonl", _lines(shown)

    def _events(self, namespaces: set[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the events about openeni's kinds, and those about its own pods."""
        try:
            found = self.cluster.objects(EVENTS)
        except CommandError as error:
            self.failures.append(str(error))
            return
        kept = [body for body in found if _is_ours(body, namespaces)]
        yield "objects/events.jsonl", _lines(kept)

    def _logs(self, pod: Json) -> Iterator[tuple[str, bytes]]:
        """Yield the log of each container, and of the one before its last restart."""
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        for status in pod.get("status", {}).get("containerStatuses") or ():
            for previous in (False, True) if status.get("restartCount") else (False,):
                request = LogRequest(
                    namespace, name, status["name"], previous=previous, tail=self.bounds.tail
                )
                file = f"logs/{name}.{status['name']}{'.previous' if previous else ''}.log"
                try:
                    text = "\n".join(self.cluster.logs.lines(request))
                except StoreError as error:
                    self.failures.append(explain(error, file))
                    continue
                yield file, redact_text(text).encode()


def _is_ours(event: Json, namespaces: set[str]) -> bool:
    about: Json = event.get("regarding") or {}
    return about.get("kind") in ABOUT or about.get("namespace") in namespaces


def _chosen(pods: Iterable[Json], report: StatusReport | None, most: int) -> list[Json]:
    """Return the operator's pods, and of the agents' those of nodes with problems first."""
    named = " ".join(f"{p.name} {p.message}" for p in report.problems) if report else ""
    operators: list[Json] = []
    agents: list[Json] = []
    for pod in pods:
        (agents if component_of(pod) == "agent" else operators).append(pod)

    def order(pod: Json) -> tuple[bool, str]:
        node = pod["spec"].get("nodeName") or ""
        troubled = pod["metadata"]["name"] in named or (bool(node) and node in named)
        return not troubled, pod["metadata"]["name"]

    return operators + sorted(agents, key=order)[:most]


def _lines(bodies: Iterable[Json]) -> bytes:
    return b"".join(msgspec.json.encode(redact(body)) + b"\n" for body in bodies)


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"
