"""Have the operator look at the cloud, and each node's agent at its kernel."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from openeni_cli.cluster import CONNECTIONS, Cluster
from openeni_cli.diagnose.report import DiagnoseReport, joined
from openeni_cli.failures import CommandError
from openeni_cli.in_pods import AGENT, OPERATOR, Asked, ask, ask_operator, pods_of
from openeni_crds.meta import Json
from openeni_kube.answers import Diagnosis
from openeni_operator.core_objects import is_ready

WORDS: Final = ("diagnose",)


def observe(cluster: Cluster, node: str, seconds: float) -> DiagnoseReport:
    """Return what differs, in the cloud and on one node or all. Raises CommandError.

    It is raised where nobody could be asked; else who could not is in the report.
    """
    agents = pods_of(cluster, AGENT, node)
    if node and not agents:
        raise CommandError(f"no agent runs on a node {node!r}: `kubectl get nodes` has their names")
    answers: dict[str, Diagnosis] = {}
    unread: list[str] = []
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        operator = threads.submit(ask_operator, cluster, WORDS, seconds, Diagnosis)
        asked = [threads.submit(partial(_ask_agent, cluster, pod, seconds)) for pod in agents]
        names = [OPERATOR, *(str(pod["spec"].get("nodeName", "")) for pod in agents)]
        for name, future in zip(names, (operator, *asked), strict=True):
            try:
                answers[name] = future.result()
            except CommandError as error:
                unread.append(str(error))
    if not answers:
        raise CommandError("; ".join(unread[:2]))
    return joined(answers, tuple(unread))


def _ask_agent(cluster: Cluster, pod: Json, seconds: float) -> Diagnosis:
    if not is_ready(pod):
        node = pod["spec"].get("nodeName", "")
        raise CommandError(f"the agent of node {node} is not ready: `openeni status` says why")
    return ask(cluster, pod, Asked(AGENT, WORDS, seconds), Diagnosis)
