"""Answer a question of `openeni` in the operator's pod: look, decide, print one JSON object.

Nothing is written, and no Lease is held: the limiter of each cloud refuses every change, but for
those of the canary that a preflight is asked for.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from openeni_crds.names import MANAGER_OPERATOR
from openeni_kube.answers import (
    CONFIRM_SECONDS,
    FAILED,
    UNKNOWN,
    confirmed,
    print_answer,
    print_failure,
)
from openeni_kube.client import NotConfiguredError, connect
from openeni_kube.command_line import ExitCode, Question
from openeni_kube.store import Store, StoreError
from openeni_operator.ask.cluster import cluster_id
from openeni_operator.ask.diagnose import diagnose
from openeni_operator.ask.preflight import preflight
from openeni_operator.ask.sweep import forecast_sweep
from openeni_operator.cloud.admission import limits_at
from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.openstack import connect as connect_cloud
from openeni_operator.process import logs
from openeni_operator.settings import Settings, SettingsError, from_environment

CONNECTIONS: Final = 2


@dataclass(frozen=True)
class Sources:
    """Where an answer comes from."""

    settings: Settings
    store: Store
    cloud: Callable[[str], Cloud]  # raises CloudError
    cluster_id: str


Answer: TypeAlias = Callable[[Question, Sources], int]


def answer(question: Question) -> int:
    """Answer as a process of its own; return the exit code."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(ExitCode.UNAVAILABLE))
    try:
        settings = from_environment(os.environ)
        logs.configure("WARNING", sys.stderr)  # standard output is for the answer
        store = connect(agent=MANAGER_OPERATOR, connections=CONNECTIONS)
        return answer_from(question, settings, store)
    except (SettingsError, NotConfiguredError) as error:
        return print_failure(str(error))


def answer_from(question: Question, settings: Settings, store: Store) -> int:
    """Answer with the cloud of the settings; return the exit code."""
    may_write = question.name == "preflight" and bool(question.node)
    clouds = connections(settings, may_write=may_write)
    try:
        sources = Sources(settings, store, clouds.get, cluster_id(store))
        return ANSWERS[question.name](question, sources)
    except StoreError as error:
        return print_failure(f"the operator cannot use the Kubernetes API server: {error.message}")


def connections(settings: Settings, *, may_write: bool) -> Clouds:
    """Return connections to the clouds of the settings, whose limiters refuse or permit changes."""
    limits = limits_at(
        writes=settings.cloud_writes, reads=settings.cloud_reads, attaches=settings.cloud_attaches
    )
    return Clouds(
        Path(settings.clouds_file),
        partial(connect_cloud, timeout=settings.cloud_timeout),
        lambda name: CallLimiter(name, limits, may_write=lambda: may_write),
    )


def _diagnose(_: Question, sources: Sources) -> int:
    found = confirmed(
        lambda: diagnose(sources.store, sources.cloud, sources.cluster_id, datetime.now(UTC)),
        lambda: time.sleep(CONFIRM_SECONDS),
    )
    return print_answer(found, good=not found.differences)


def _preflight(question: Question, sources: Sources) -> int:
    found = preflight(sources.store, sources.cloud, sources.cluster_id, question.node)
    good = not any(check.verdict in {FAILED, UNKNOWN} for check in found.checks)
    return print_answer(found, good=good)


def _sweep(_: Question, sources: Sources) -> int:
    found = forecast_sweep(
        sources.store, sources.cloud, sources.cluster_id, sources.settings.orphans
    )
    return print_answer(found, good=not any(c.left or c.lost or c.error for c in found.clouds))


ANSWERS: Final[Mapping[str, Answer]] = {
    "diagnose": _diagnose,
    "preflight": _preflight,
    "sweep": _sweep,
}
