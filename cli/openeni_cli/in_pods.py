"""Ask operator and agents in their pods what only they can find out: cloud and kernel."""

from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from openeni_cli.cluster import LEASE, OTHER_RELEASE, Cluster
from openeni_cli.failures import CommandError, explain
from openeni_crds.meta import Json
from openeni_crds.names import LEASES, PODS, SELECTOR_OURS
from openeni_kube.answers import Unanswered
from openeni_kube.command_line import ExitCode
from openeni_kube.containers.exec import ExecRequest, ExecResult
from openeni_kube.store import StoreError, object_key
from openeni_operator.core_objects import is_ready

A = TypeVar("A", bound=Struct)
OPERATOR: Final = "operator"  # a component's label and its container's name
AGENT: Final = "agent"
# As Containerfile and the chart start them.
PROGRAMS: Final = {
    OPERATOR: ("python", "-m", "openeni_operator"),
    AGENT: ("python", "-m", "openeni_nodeagent"),
}
ANSWERED: Final = frozenset({ExitCode.OK, ExitCode.FOUND})


@dataclass(frozen=True)
class Asked:
    """A question to a component; it waits so many seconds for the answer."""

    component: str
    words: tuple[str, ...]
    seconds: float


def pods_of(cluster: Cluster, component: str, node: str = "") -> list[Json]:
    """Return a component's pods, of one node or of all, by their names. Raises CommandError."""
    found = cluster.objects(PODS, labels=f"{SELECTOR_OURS}={component}")
    here = [pod for pod in found if not node or pod["spec"].get("nodeName") == node]
    return sorted(here, key=lambda pod: str(pod["metadata"]["name"]))


def ask_operator(cluster: Cluster, words: tuple[str, ...], seconds: float, model: type[A]) -> A:
    """Return the answer of one operator that is ready: each has the credentials.

    One that does not lead is asked first: what an answer takes of its memory is nobody's loss.
    """
    pods = pods_of(cluster, OPERATOR)
    leaders = _leaders(cluster)
    ready = sorted(
        (pod for pod in pods if is_ready(pod)), key=lambda pod: pod["metadata"]["name"] in leaders
    )
    if not ready:
        raise CommandError(
            f"none of the {len(pods)} pods of the operator is ready to answer: `openeni status` "
            "says why"
        )
    return ask(cluster, ready[0], Asked(OPERATOR, words, seconds), model)


def _leaders(cluster: Cluster) -> set[str]:
    """Return the names of the pods that lead; who may not read Leases does not know."""
    try:
        leases = cluster.objects(LEASES, fields=f"metadata.name={LEASE}")
    except CommandError:
        return set()
    return {str(lease.get("spec", {}).get("holderIdentity", "")) for lease in leases}


def ask(cluster: Cluster, pod: Json, asked: Asked, model: type[A]) -> A:
    """Return the answer of a pod. Raises CommandError: one line with the way out."""
    where = f"{asked.component} {object_key(pod)}"
    command = (*PROGRAMS[asked.component], "ask", *asked.words)
    metadata = pod["metadata"]
    request = ExecRequest(
        metadata["namespace"], metadata["name"], asked.component, command, asked.seconds
    )
    try:
        result = cluster.execs.run(request)
    except StoreError as error:
        raise CommandError(explain(error, f"cannot ask {where}")) from error
    if result.code in ANSWERED:
        return _decoded(where, result, model)
    raise CommandError(f"{where} cannot answer: {_why(result)}")


def _decoded(where: str, result: ExecResult, model: type[A]) -> A:
    try:
        return msgspec.json.decode(result.stdout, type=model)
    except msgspec.MsgspecError as error:
        said = _last_line(result)
        text = f"{where} answers with what is no {model.__name__} ({error}): {said}"
        raise CommandError(f"{text}; {OTHER_RELEASE}") from error


def _why(result: ExecResult) -> str:
    try:
        return msgspec.json.decode(result.stdout, type=Unanswered).error
    except msgspec.MsgspecError:
        said = f"it ends with status {result.code}: {_last_line(result)}"
    return f"{said}; {OTHER_RELEASE}" if result.code == ExitCode.USAGE else said


def _last_line(result: ExecResult) -> str:
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return lines[-1][-500:] if lines else "it printed no error"
