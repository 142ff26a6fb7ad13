"""Read the log of grants from the agents' pods, several at a time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from openeni_cli.cluster import CONNECTIONS, Cluster
from openeni_cli.failures import explain
from openeni_cli.grant_log import LOST, GrantLine, parse_lines
from openeni_crds.meta import Json
from openeni_crds.names import PODS, SELECTOR_AGENTS
from openeni_kube.containers.logs import LogRequest
from openeni_kube.store import NotFoundError, StoreError, object_key

CONTAINER: Final = "agent"


def agents_on(cluster: Cluster, node: str = "") -> list[Json]:
    """Return the agents' pods, of one node or of all. Raises CommandError."""
    found = cluster.objects(PODS, labels=SELECTOR_AGENTS)
    return [pod for pod in found if not node or pod["spec"].get("nodeName") == node]


def read_grants(
    cluster: Cluster, agents: list[Json], word: str
) -> tuple[list[GrantLine], list[str]]:
    """Return the lines with `word` in them, the first of each log, and what could not be read."""
    lines: list[GrantLine] = []
    unread: list[str] = []
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        for found, failed in threads.map(partial(_read, cluster, word), agents):
            lines += found
            unread += failed
    return lines, unread


def _read(cluster: Cluster, word: str, pod: Json) -> tuple[list[GrantLine], list[str]]:
    """Read the logs of a pod's container, and of the one before its last restart."""
    found: list[GrantLine] = []
    failed: list[str] = []
    for previous in _containers(pod):
        request = LogRequest(
            pod["metadata"]["namespace"], pod["metadata"]["name"], CONTAINER, previous=previous
        )
        try:
            found += parse_lines(_relevant(cluster.logs.lines(request), word))
        except NotFoundError:
            continue  # the pod has gone meanwhile
        except StoreError as error:
            failed.append(explain(error, f"the log of pod {object_key(pod)}"))
    return found, failed


def _containers(pod: Json) -> tuple[bool, ...]:
    """Return whether to read the log before the last restart (True), then that of now."""
    statuses: list[Json] = pod.get("status", {}).get("containerStatuses") or []
    restarted = any(s.get("restartCount") for s in statuses if s.get("name") == CONTAINER)
    return (True, False) if restarted else (False,)


def _relevant(lines: Iterator[str], word: str) -> Iterator[str]:
    """Yield the lines with the word, and those that tell how far the log goes and what it lacks."""
    first = True
    for line in lines:
        of_grants = '"event":"' in line
        if of_grants and (first or word in line or LOST in line):
            yield line
        first = first and not of_grants
