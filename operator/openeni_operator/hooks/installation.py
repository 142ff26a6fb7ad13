"""Helm's test: wait until operator and agents are the release's and ready; name those that are not.

Runs as `python -m openeni_operator.hooks.installation`, in the namespace OPENENI_NAMESPACE.
"""

import os
import sys
from dataclasses import dataclass
from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import DAEMONSETS, DEPLOYMENTS, PODS, SELECTOR_OURS, Kind
from openeni_kube.store import NotFoundError, Store
from openeni_operator.core_objects import is_ready
from openeni_operator.hooks.waiting import Finding, Messages, listed, run
from openeni_operator.process.crd_version import difference, installed_versions

MESSAGES: Final = Messages("openeni is not ready")
NO_CRDS: Final = (
    "the CRDs of openeni.io are not installed: upgrade with crds.enabled, or apply crds/"
)
NO_OPERATOR: Final = "an operator: the Deployment openeni-operator has none (operator.replicas)"
NO_AGENT: Final = (
    "an agent: there is no pod of the DaemonSet openeni-agent. `kubectl describe` of it says why: "
    "the namespace must permit privileged pods, and agent.nodeSelector must match nodes"
)


@dataclass(frozen=True)
class Rollout:
    """What a Deployment or a DaemonSet says of its pods."""

    wanted: int = 0
    pods: int = 0
    updated: int = 0  # of the release's template
    available: int = 0
    observed: bool = True  # its controller has seen the release

    @property
    def complete(self) -> bool:
        return self.observed and {self.pods, self.updated, self.available} == {self.wanted}

    def __str__(self) -> str:
        if not self.observed:
            return "its controller has not seen the release yet"
        return f"of {self.wanted} pods {self.updated} are new and {self.available} available"


@dataclass(frozen=True)
class Installation:
    """The state of a release; of each pod its name, with its node."""

    crds: str = ""  # how their version differs
    operators: Rollout = Rollout()
    agents: Rollout = Rollout()
    unready: tuple[str, ...] = ()

    @property
    def finding(self) -> Finding:
        """Return what is still missing."""
        if self.crds:
            return Finding(refusal=self.crds)
        missing = [
            *_missing("operators", self.operators, self.operators.wanted, NO_OPERATOR),
            *_missing("agents", self.agents, self.agents.pods, NO_AGENT),
        ]
        unready = [f"pods to be ready: {listed(self.unready)}"] if self.unready else []
        return Finding("; ".join(missing + unready))


def _missing(noun: str, found: Rollout, some: int, none: str) -> list[str]:
    if found.observed and not some:
        return [none]
    return [] if found.complete else [f"the {noun}' rollout: {found}"]


def observe(store: Store, namespace: str) -> Installation:
    """Return the state of the release in a namespace. Raises StoreError."""
    try:
        crds = difference(installed_versions(store))
    except NotFoundError:
        return Installation(NO_CRDS)
    alive = "status.phase!=Failed,status.phase!=Succeeded"  # an evicted pod stays, as failed
    pods = store.list(
        PODS,
        field_selector=f"metadata.namespace={namespace},{alive}",
        label_selector=SELECTOR_OURS,
    ).items
    unready = sorted(map(_described, (pod for pod in pods if not is_ready(pod))))
    return Installation(
        crds,
        _deployment(_workload(store, DEPLOYMENTS, "openeni-operator", namespace)),
        _daemonset(_workload(store, DAEMONSETS, "openeni-agent", namespace)),
        tuple(unready),
    )


def _workload(store: Store, kind: Kind, name: str, namespace: str) -> Json:
    try:
        return store.get(kind, name, namespace)
    except NotFoundError:
        return {"metadata": {}, "spec": {"replicas": 0}}


def _deployment(body: Json) -> Rollout:
    status: Json = body.get("status", {})
    return Rollout(
        body["spec"]["replicas"],
        status.get("replicas", 0),
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _is_observed(body),
    )


def _daemonset(body: Json) -> Rollout:
    status: Json = body.get("status", {})
    return Rollout(
        status.get("desiredNumberScheduled", 0),
        status.get("currentNumberScheduled", 0),
        status.get("updatedNumberScheduled", 0),
        status.get("numberAvailable", 0),
        _is_observed(body),
    )


def _is_observed(body: Json) -> bool:
    seen: int = body.get("status", {}).get("observedGeneration", 0)
    written: int = body["metadata"].get("generation", 0)
    return seen >= written


def _described(pod: Json) -> str:
    node = pod["spec"].get("nodeName")
    return f"{pod['metadata']['name']} ({f'on {node}' if node else 'on no node yet'})"


def main() -> int:
    """Return 0 once all is ready, or 1 after one line that says what is not."""
    namespace = os.environ["OPENENI_NAMESPACE"]
    return run(lambda store: observe(store, namespace).finding, MESSAGES)


if __name__ == "__main__":
    sys.exit(main())
