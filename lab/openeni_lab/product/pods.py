"""openeni's pods: whether their rollout is complete, what hinders it, and how containers ended."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from openeni_lab.kubernetes.api import Api, ApiError
from openeni_lab.machine.exits import describe_exit
from openeni_lab.product.chart import NAMESPACE

Json = dict[str, Any]

DEPLOYMENT: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/openeni-operator"
DAEMON_SET: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/openeni-agent"
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
OPERATOR: Final = "operator"  # values of the label app.kubernetes.io/component
AGENT: Final = "agent"
# What a runtime reports of containers that ended with their node: containerd's recovery.
LOST_WITH_NODE: Final = "Unknown"
CRASHES: Final = 3  # ends of a container that never became ready are no accident
_SIGNALLED: Final = 128  # plus the signal's number


@dataclass(frozen=True)
class ProductContainer:
    """One container of openeni, as its pod's status has it."""

    component: str
    pod: str
    uid: str  # of the pod
    node: str
    runtime_id: str  # containerd's, "" before it has one
    restarts: int
    ready: bool
    waiting: str  # why it does not run; "" if it does
    last_end: Json | None  # its status' lastState.terminated

    def __str__(self) -> str:
        return f"{self.component} on {self.node}"


def containers(api: Api) -> list[ProductContainer]:
    """Return the containers of openeni's pods that are not being deleted."""
    pods = api.items(PODS, labelSelector="app.kubernetes.io/component")
    return [_container(pod) for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def _container(pod: Json) -> ProductContainer:
    metadata, status = pod["metadata"], pod.get("status", {})
    found: Json = (status.get("containerStatuses") or [{}])[0]
    waiting = found.get("state", {}).get("waiting", {})
    said = ": ".join(w for w in (waiting.get("reason"), waiting.get("message")) if w)
    return ProductContainer(
        component=metadata["labels"]["app.kubernetes.io/component"],
        pod=metadata["name"],
        uid=metadata["uid"],
        node=pod["spec"].get("nodeName", "no node"),
        runtime_id=found.get("containerID", "").partition("//")[2],
        restarts=found.get("restartCount", 0),
        ready=found.get("ready", False),
        waiting="" if found.get("started") else said or status.get("reason", "starting"),
        last_end=found.get("lastState", {}).get("terminated"),
    )


def rolled_out(api: Api, nodes: int) -> bool:
    """Return True if operator and agents run on `nodes` nodes as the release says."""
    operator, agents = api.get(DEPLOYMENT), api.get(DAEMON_SET)
    if not operator or not agents or not (_observed(operator) and _observed(agents)):
        return False
    wanted, status = operator["spec"]["replicas"], operator["status"]
    counts = {status.get(f"{word}eplicas", 0) for word in ("r", "updatedR", "availableR")}
    if counts != {wanted}:
        return False
    status = agents["status"]
    names = ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady")
    return {status.get(name, 0) for name in names} == {nodes}


def _observed(workload: Json) -> bool:
    seen = workload.get("status", {}).get("observedGeneration", 0)
    return int(seen) >= int(workload["metadata"]["generation"])


def hindrances(api: Api) -> str:
    """Return what containers that are not ready wait for, in one line; "" if all are ready."""
    try:
        found = [f"{c}: {c.waiting or 'not ready'}" for c in containers(api) if not c.ready]
    except ApiError as error:
        return str(error)
    return "; ".join(found)


def crashes(api: Api) -> str:
    """Return how a container ends again and again, with its last line; "" if none does."""
    for container in containers(api):
        if container.restarts >= CRASHES and not container.ready and container.last_end:
            path = f"{PODS}/{container.pod}/log?tailLines=1&previous=true"
            said = str(api.request("GET", path)["text"]).strip()
            how = _sentence(container.last_end)
            return f"{container}: {how}, {container.restarts} times; its last line: {said}"
    return ""


def exits(api: Api) -> Iterator[tuple[str, str]]:
    """Yield an id and a sentence for the last unexpected end of each container.

    Containers that ended with their node are left out, and those whose pod is gone.
    """
    for container in containers(api):
        end = container.last_end
        if end and end.get("reason") != LOST_WITH_NODE:
            said = f"{container}: {_sentence(end)}; see `kubectl logs --previous`"
            yield f"{container.uid}/{container.restarts}", said


def _sentence(end: Json) -> str:
    code = int(end.get("exitCode", 0))
    if _SIGNALLED < code <= _SIGNALLED + signal.NSIG:
        code = _SIGNALLED - code
    at = datetime.fromisoformat(end["finishedAt"]).timestamp()
    reason = f" ({end['reason']})" if end.get("reason") not in {None, "Error", "Completed"} else ""
    clock = time.strftime("%H:%M:%S", time.localtime(at))
    return f"{clock} {describe_exit(code)}{reason}"
