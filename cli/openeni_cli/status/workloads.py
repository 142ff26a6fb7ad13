"""Find what is wrong with openeni's own pods, their rollouts and the operator's Lease. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from openeni_cli.status.report import Problem
from openeni_cli.times import seconds_since
from openeni_crds.meta import Json
from openeni_crds.names import DAEMONSETS, DEPLOYMENTS, LEASES, PODS
from openeni_kube.store import object_key
from openeni_operator.core_objects import is_ready

STARTING_SECONDS: Final = 60.0  # in which a new pod becomes ready
LEASE_SECONDS: Final = 60.0  # without a renewal; it is due every few seconds
GONE: Final = frozenset({"Failed", "Succeeded"})  # phases of pods that others have replaced
REMEDIES: Final = {
    "CrashLoopBackOff": "read the log of the container before: "
    "kubectl -n {namespace} logs --previous {name}",
    "CreateContainerConfigError": "create the Secret or ConfigMap that the message names",
    "ErrImagePull": "correct image.registry and the tags, or add image.pullSecrets",
    "ImagePullBackOff": "correct image.registry and the tags, or add image.pullSecrets",
    "Unschedulable": "make room on a node, or correct nodeSelector, affinity and tolerations",
}
LOG: Final = "read its log: kubectl -n {namespace} logs {name}"


@dataclass(frozen=True)
class Workloads:
    """Objects of openeni's releases, as the API server has them."""

    deployments: tuple[Json, ...] = ()
    daemonsets: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()
    leases: tuple[Json, ...] = ()

    @property
    def installed(self) -> bool:
        return bool(self.deployments or self.daemonsets)


def workload_problems(found: Workloads, now: datetime) -> list[Problem]:
    """Return problems, those of the operator first."""
    if not found.installed:
        return [_not_installed()]
    return [
        *(p for body in found.deployments for p in _rollout(body, DEPLOYMENTS.name, _replicas)),
        *_leader(found, now),
        *(p for body in found.daemonsets for p in _rollout(body, DAEMONSETS.name, _scheduled)),
        *(p for pod in found.pods for p in _pod(pod, now)),
    ]


def _not_installed() -> Problem:
    return Problem(
        kind=DEPLOYMENTS.name,
        name="openeni-operator",
        reason="NotInstalled",
        conditions=(),
        since="",
        message="the cluster has no operator and no agents of openeni",
        remedy="install the chart, or choose the cluster that has it by --context",
    )


def _replicas(body: Json) -> tuple[int, int]:
    return body["spec"].get("replicas", 1), body.get("status", {}).get("replicas", 0)


def _scheduled(body: Json) -> tuple[int, int]:
    status: Json = body.get("status", {})
    return status.get("desiredNumberScheduled", 0), status.get("currentNumberScheduled", 0)


def _rollout(body: Json, kind: str, counts: Any) -> list[Problem]:
    """Return a problem if pods are missing altogether: those that are there speak themselves."""
    wanted, there = counts(body)
    if wanted and there >= wanted:
        return []
    failures = [
        c
        for c in body.get("status", {}).get("conditions") or ()
        if c["type"] == "ReplicaFailure" and c["status"] == "True"
    ]
    why = failures[0].get("message", "") if failures else f"of {wanted} pods {there} exist"
    if wanted:
        remedy = "kubectl describe says why: quotas, and Pod Security of the namespace, are usual"
    elif kind == DEPLOYMENTS.name:
        remedy = "set operator.replicas of the chart to 1 or more"
    else:
        remedy = "correct agent.nodeSelector, agent.affinity and agent.tolerations of the chart"
    return [
        Problem(
            kind=kind,
            name=object_key(body),
            reason="PodsMissing" if wanted else "NoPodsWanted",
            conditions=(),
            since=failures[0].get("lastTransitionTime", "") if failures else "",
            message=why if wanted else "it is to have no pods",
            remedy=remedy,
        )
    ]


def _leader(found: Workloads, now: datetime) -> list[Problem]:
    """Return a problem if no operator leads; the times in a Lease are of other clocks."""
    renewed: dict[str, str] = {}
    for lease in found.leases:
        spec: Json = lease.get("spec") or {}
        if spec.get("holderIdentity"):
            renewed[lease["metadata"]["namespace"]] = spec.get("renewTime") or ""
    led = {home for home, at in renewed.items() if _is_recent(at, now)}
    homes = {body["metadata"]["namespace"] for body in found.deployments}
    return [
        Problem(
            kind=LEASES.name,
            name=f"{namespace}/openeni-operator",
            reason="NoLeader",
            conditions=(),
            since=renewed.get(namespace, ""),
            message="no operator leads, so nothing changes in the cloud and no status is written",
            remedy="read the logs of the operator's pods: they say what they wait for",
        )
        for namespace in sorted(homes - led)
    ]


def _is_recent(renewed: str, now: datetime) -> bool:
    seconds = seconds_since(renewed, now)
    return seconds is not None and seconds < LEASE_SECONDS


def _pod(pod: Json, now: datetime) -> Iterable[Problem]:
    status: Json = pod.get("status", {})
    if is_ready(pod) or status.get("phase") in GONE or pod["metadata"].get("deletionTimestamp"):
        return
    since = _unready_since(pod)
    seconds = seconds_since(since, now)
    reason, message = _cause(status)
    if reason == "NotReady" and seconds is not None and seconds < STARTING_SECONDS:
        return
    node = pod["spec"].get("nodeName")
    key = object_key(pod)
    namespace, _, name = key.partition("/")
    yield Problem(
        kind=PODS.name,
        name=key,
        reason=reason,
        conditions=(),
        since=since,
        message="; ".join(filter(None, (f"on node {node}" if node else "", message))),
        remedy=REMEDIES.get(reason, LOG).format(namespace=namespace, name=name),
    )


def _unready_since(pod: Json) -> str:
    conditions: list[Json] = pod.get("status", {}).get("conditions") or []
    ready = [c.get("lastTransitionTime", "") for c in conditions if c["type"] == "Ready"]
    created: str = pod["metadata"].get("creationTimestamp", "")
    return ready[0] if ready and ready[0] else created


def _end(ended: Json) -> str:
    """Say how a container ended, with its last line: the chart has kubelet take it of the log."""
    lines = (ended.get("message") or "").strip().splitlines()
    words = f": {lines[-1]}" if lines else ""
    code = ended.get("exitCode")
    return f"it ended last by {ended.get('reason', 'itself')} (exit code {code}){words}"


def _cause(status: Json) -> tuple[str, str]:
    """Return the reason for which a pod is not ready, and a text."""
    for container in status.get("containerStatuses") or ():
        waiting: Json = container.get("state", {}).get("waiting") or {}
        ended: Json = container.get("lastState", {}).get("terminated") or {}
        last = _end(ended) if ended else ""
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            texts = (waiting.get("message", ""), last)
            return waiting["reason"], "; ".join(filter(None, texts))
        if last:
            return "NotReady", last
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return condition.get("reason") or "Unschedulable", condition.get("message", "")
    return "NotReady", "its readiness probe fails"
