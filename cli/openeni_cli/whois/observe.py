"""Ask the cluster or files whose an address is."""

import sys
from collections.abc import Iterator
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final

import msgspec

from openeni_cli.agent_logs import agents_on, read_grants
from openeni_cli.cluster import Cluster
from openeni_cli.failures import CommandError
from openeni_cli.grant_log import GrantHistory, history_of, parse_lines
from openeni_cli.whois.answer import (
    Verdict,
    WhoisReport,
    answer_at,
    answer_by_podip,
    answer_history,
    answer_now,
    is_older,
)
from openeni_crds.eni import ENI
from openeni_crds.names import ENIS, PODIPS
from openeni_crds.podip import PodIP

STDIN: Final = "-"


def ask_files(address: str, at: datetime | None, names: list[str]) -> WhoisReport:
    """Answer from logs in files alone: no cluster is asked. Raises CommandError."""
    texts = (line for name in names for line in _text_of(name))
    try:
        history = history_of(address, parse_lines(texts))
    except OSError as error:
        raise CommandError(f"cannot read the log: {error}") from error
    if at is None:
        return answer_history(address, history)
    return answer_at(address, at, history, podips_known=False)


def _text_of(name: str) -> Iterator[str]:
    if name == STDIN:
        yield from sys.stdin
    else:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            yield from file


def ask_cluster(
    cluster: Cluster, address: str, at: datetime | None, *, history: bool
) -> WhoisReport:
    """Answer from PodIPs and ENIs, and about the past from the agents' log."""
    podips = cluster.models(PODIPS, PodIP, fields=f"{_field_of(address)}={address}")
    if at is None and not history:
        return answer_now(address, podips, cluster.models(ENIS, ENI))
    older = next((podip for podip in podips if at is not None and is_older(podip, at)), None)
    if at is not None and older is not None and not older.is_retained and not history:
        return answer_by_podip(address, at, older)
    logged, unread = _logged(cluster, address)
    if at is None:
        report = answer_history(address, logged)
    else:
        report = answer_at(address, at, logged, podips_known=True)
        if older is not None and report.verdict is not Verdict.POD:
            report = answer_by_podip(address, at, older)
    return msgspec.structs.replace(report, notes=(*report.notes, *unread))


def _logged(cluster: Cluster, address: str) -> tuple[GrantHistory, list[str]]:
    agents = agents_on(cluster)
    begins = {
        pod["spec"].get("nodeName", ""): pod["metadata"].get("creationTimestamp", "")
        for pod in agents
    }
    lines, unread = read_grants(cluster, agents, f'"{address}"')
    return history_of(address, lines, begins), unread


def _field_of(address: str) -> str:
    six = isinstance(ip_address(address), IPv6Address)
    return "spec.addressIPv6" if six else "spec.address"
