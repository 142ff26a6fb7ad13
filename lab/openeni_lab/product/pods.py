"""openeni's pods: whether their rollout is complete, what hinders it, and how containers ended."""

import signal
import time
from collections.abc import Collection, Iterator
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
EVENTS: Final = f"/api/v1/namespaces/{NAMESPACE}/events"
LOGS: Final = tuple(  # of openeni's pods, on VM nodes and on namespace nodes
    f"nodes/*/{folder}/pods/{NAMESPACE}_*/*/*.log" for folder in ("logs", "disk/var/log")
)
OPERATOR: Final = "operator"  # values of the label app.kubernetes.io/component
AGENT: Final = "agent"
# Of containers that ended with their node: containerd's recovery, and the kubelet's guess.
LOST_WITH_NODE: Final = frozenset({"Unknown", "ContainerStatusUnknown"})
SUPERSEDED: Final = 3  # exit status of an operator that has lost the Lease, as on a busy machine
CRASHES: Final = 3  # so many ends of a container that is not ready are no accident
_SIGNALLED: Final = 128  # plus the signal's number


@dataclass(frozen=True)
class ProductContainer:
    """One container of openeni, as its pod's status has it."""

    component: str
    pod: str
    uid: str  # of the pod
    node: str
    runtime_id: str  # containerd's, "" before it has one
    image: str
    restarts: int
    ready: bool
    waiting: str  # why it does not run; "" if it does
    last_end: Json | None  # its status' lastState.terminated

    def __str__(self) -> str:
        return f"{self.component} on {self.node}"

    @property
    def end_is_normal(self) -> bool:
        """Return True if it ended with its node, or since another operator leads."""
        end = self.last_end or {}
        superseded = self.component == OPERATOR and end.get("exitCode") == SUPERSEDED
        return superseded or end.get("reason") in LOST_WITH_NODE


def containers(api: Api) -> list[ProductContainer]:
    """Return the containers of openeni's pods that are not being deleted."""
    pods = api.items(PODS, labelSelector="app.kubernetes.io/component")
    return [_container(pod) for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def _container(pod: Json) -> ProductContainer:
    metadata, status = pod["metadata"], pod.get("status", {})
    listed: list[Json] = status.get("containerStatuses") or [{}]
    found = listed[0]
    waiting = found.get("state", {}).get("waiting", {})
    said = ": ".join(w for w in (waiting.get("reason"), waiting.get("message")) if w)
    return ProductContainer(
        component=metadata["labels"]["app.kubernetes.io/component"],
        pod=metadata["name"],
        uid=metadata["uid"],
        node=pod["spec"].get("nodeName", "no node"),
        runtime_id=found.get("containerID", "").partition("//")[2],
        image=pod["spec"]["containers"][0]["image"],
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


def crashes(api: Api, images: Collection[str]) -> str:
    """Return how a container of these images ends again and again; "" if none does."""
    for container in containers(api):
        end = container.last_end
        if container.image not in images or container.ready or not end or container.end_is_normal:
            continue
        if container.restarts >= CRASHES:
            said = _last_line(api, container.pod)
            return f"{container}: {_sentence(end)}, {container.restarts} times; {said}"
    return ""


def _last_line(api: Api, pod: str) -> str:
    path = f"{PODS}/{pod}/log?tailLines=1&previous=true"
    try:
        return f"its last line: {str(api.request('GET', path)['text']).strip()}"
    except ApiError:  # the runtime has removed the container
        return "its log is gone"


def exits(api: Api) -> Iterator[tuple[str, str]]:
    """Yield an id and a sentence for the last unexpected end of each container.

    Containers whose end is normal are left out, and those whose pod is gone.
    """
    for container in containers(api):
        end = container.last_end
        if end and not container.end_is_normal:
            said = f"{container}: {_sentence(end)}{_unhealthy(api, container.pod)}"
            yield f"{container.uid}/{container.restarts}", f"{said}; see `kubectl logs --previous`"


def _unhealthy(api: Api, pod: str) -> str:
    """Return what a pod's probes have said, since a kubelet may have ended it for that."""
    fields = f"reason=Unhealthy,involvedObject.name={pod}"
    try:
        events = api.items(EVENTS, fieldSelector=fields)
    except ApiError:
        return ""
    return "".join(f"; {e.get('count', 1)} times: {e['message'].strip()}" for e in events)


def _sentence(end: Json) -> str:
    code = int(end.get("exitCode", 0))
    if _SIGNALLED < code <= _SIGNALLED + signal.NSIG:
        code = _SIGNALLED - code
    finished = end.get("finishedAt")
    reason = f" ({end['reason']})" if end.get("reason") not in {None, "Error", "Completed"} else ""
    text = f"{describe_exit(code)}{reason}"
    if not finished:
        return text
    at = time.localtime(datetime.fromisoformat(finished).timestamp())
    return f"{time.strftime('%H:%M:%S', at)} {text}"
