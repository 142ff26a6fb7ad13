"""The operator's entry point: read settings, connect, build the controllers, run kopf."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from openeni_crds.names import (
    BUNDLE_VERSION,
    CONTROLLER_OPERATOR,
    ENIPOOLS,
    MANAGER_OPERATOR,
    NAMESPACES,
)
from openeni_kube.client import NotConfiguredError, connect
from openeni_kube.clock import now_text
from openeni_kube.command_line import read_command_line
from openeni_kube.event_series import Reporter
from openeni_kube.events import EventRecorder, Recorder
from openeni_kube.metrics import dropped_samples
from openeni_kube.store import NotFoundError, Store, StoreError
from openeni_operator.ask.answer import ANSWERS, answer
from openeni_operator.cloud.admission import limits_at
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.openstack import connect as connect_cloud
from openeni_operator.controllers import POOL_THREADS, Controllers, build_controllers
from openeni_operator.enipool.state_metrics import state_samples
from openeni_operator.handlers import run_kopf
from openeni_operator.process import logs
from openeni_operator.process.crd_version import report_difference
from openeni_operator.process.leadership import Leadership
from openeni_operator.process.metrics import (
    LaneLoad,
    Metrics,
    agent_samples,
    crd_version_samples,
    leader_samples,
    queue_samples,
    quota_samples,
    throttle_samples,
)
from openeni_operator.process.probes import LoopCheck, ProbeError, Probes, serve_probes
from openeni_operator.settings import Settings, SettingsError, from_environment

LOG: Final = logging.getLogger("openeni_operator")
START_RETRY_SECONDS: Final = 2.0
# That call the API server beside workers: informers, resync, Lease, Events.
OTHER_THREADS: Final = 8 + POOL_THREADS
T = TypeVar("T")
SUPERSEDED: Final = 3  # exit status that tells this from a failure; kubelet starts it again
EVENTS_SECONDS: Final = 1.0  # for queued Events to be written
STOP_SECONDS: Final = 5.0  # for running reconciles to end; it is safe to cut one off


def main() -> int:
    """Run until a signal stops it.

    Exit status: 0 when stopped, 1 when it failed, 2 when a setting is wrong, 3 when another
    operator leads.
    """
    # Process 1 of a container ignores signals without a handler; kopf installs its own later.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    probes, metrics = Probes(), Metrics()
    try:
        settings = from_environment(os.environ)
        logs.configure(settings.log_level)
        store = connect(agent=MANAGER_OPERATOR, connections=settings.threads + OTHER_THREADS)
        page = metrics.page if settings.metrics else None
        with serve_probes(probes, settings.probe_address, settings.probe_port, page):
            return run(settings, store, probes, metrics)
    except (SettingsError, NotConfiguredError, ProbeError) as error:
        sys.stderr.write(f"openeni-operator: {error}\n")
        return 2


def run(settings: Settings, store: Store, probes: Probes, metrics: Metrics) -> int:
    """Wait to lead, then run kopf until a signal, or until another operator leads.

    Returns the exit status.
    """
    wait_for_crds(store)
    lost = threading.Event()
    leadership = lead(settings, store, probes, metrics, lost)
    clouds = connect_clouds(settings, leadership, metrics)
    recorder = record_events(settings, store, metrics)
    controllers = start(settings, store, clouds, recorder, metrics)
    loop = LoopCheck()
    probes.started(checks_of(controllers, loop, leadership))
    try:
        run_kopf(controllers.state, loop, controllers.relists)
    finally:
        ended = controllers.stop(STOP_SECONDS)
        recorder.stop(EVENTS_SECONDS)
        if ended and leadership:
            leadership.release()
    if lost.is_set() and leadership:
        leader = leadership.leader
        said = f"{leader} leads now" if leader else "another operator has led meanwhile"
        LOG.error("%s; this operator exits", said)
        return SUPERSEDED
    LOG.info("operator stopped")
    return 0


def connect_clouds(settings: Settings, leadership: Leadership | None, metrics: Metrics) -> Clouds:
    """Return the connections to clouds: nothing is changed there by who does not lead."""
    limits = limits_at(
        writes=settings.cloud_writes, reads=settings.cloud_reads, attaches=settings.cloud_attaches
    )
    may_write = leadership.holds if leadership else lambda: True
    return Clouds(
        Path(settings.clouds_file),
        partial(connect_cloud, timeout=settings.cloud_timeout),
        lambda name: CallLimiter(name, limits, may_write=may_write, observe=metrics.cloud_called),
    )


def checks_of(
    controllers: Controllers, loop: LoopCheck, leadership: Leadership | None
) -> dict[str, Callable[[], bool]]:
    """Return the checks of the probes: one fails only if a new process would help."""
    return {
        "watches": controllers.resync.healthy,
        "informers": controllers.informers_alive,
        "workers": controllers.workers.alive,
        "kopf": loop,
        # A signal to end can get lost while kopf is run again.
        **({"leadership": leadership.keeps} if leadership else {}),
    }


def record_events(settings: Settings, store: Store, metrics: Metrics) -> EventRecorder:
    """Start the recorder of Events."""
    reporter = Reporter(CONTROLLER_OPERATOR, settings.pod or MANAGER_OPERATOR)
    recorder = EventRecorder(store, time.monotonic, lambda: datetime.now(UTC), reporter)
    recorder.start()
    metrics.add_source(lambda: dropped_samples(recorder.dropped()))
    return recorder


def lead(
    settings: Settings, store: Store, probes: Probes, metrics: Metrics, lost: threading.Event
) -> Leadership | None:
    """Wait to lead; when another operator leads later, set `lost` and stop kopf.

    Returns None where nobody is elected, outside a pod.
    """
    if not settings.namespace or not settings.pod:
        metrics.add_source(lambda: leader_samples(leads=True))
        return None
    leadership = Leadership(store, settings.namespace, settings.pod)
    metrics.add_source(lambda: leader_samples(leadership.holds()))
    wait_to_lead(leadership, probes)

    def end() -> None:
        lost.set()
        os.kill(os.getpid(), signal.SIGTERM)  # kopf's stop_flag would be waited for after its end

    leadership.keep(end)
    return leadership


def wait_to_lead(leadership: Leadership, probes: Probes) -> None:
    """Wait until this operator leads. Until then it is ready: it can take over."""
    logged = ""
    while True:
        try:
            wait = leadership.try_to_lead()
            said = f"waiting to lead: {leadership.leader} does"
        except StoreError as error:
            wait, said = START_RETRY_SECONDS, f"waiting to lead: the Lease cannot be used: {error}"
        else:
            probes.started({})
        if not wait:
            LOG.info("leading")
            return
        if said != logged:
            LOG.info(said)
            logged = said
        time.sleep(wait)


def wait_for_crds(store: Store) -> None:
    """Wait for the API server and the CRDs; log each reason to wait once."""
    until_done(lambda: store.list(ENIPOOLS))


def start(
    settings: Settings, store: Store, clouds: Clouds, recorder: Recorder, metrics: Metrics
) -> Controllers:
    """Start the controllers; retry while the API server cannot be used."""
    namespace = until_done(lambda: store.get(NAMESPACES, "kube-system"))
    controllers = build_controllers(
        settings,
        store,
        clouds,
        namespace["metadata"]["uid"],
        recorder=recorder,
        observe=metrics.reconciled,
    )
    controllers.sync()
    until_done(controllers.start)
    differs = report_difference(store)
    metrics.add_source(lambda: crd_version_samples(differs))
    if settings.namespace:
        metrics.add_source(lambda: agent_samples(controllers.agents.ready_count()))
    metrics.add_source(lambda: throttle_samples(clouds.throttle_ratios()))
    metrics.add_source(lambda: quota_samples(controllers.reads.known_port_quotas()))
    metrics.add_source(lambda: queue_samples(_lane_loads(controllers)))
    metrics.add_source(lambda: state_samples(controllers.state, now_text()))
    facts = {"version": BUNDLE_VERSION, "clouds_file": settings.clouds_file}
    LOG.info("operator started", extra=facts)
    return controllers


def _lane_loads(controllers: Controllers) -> dict[str, LaneLoad]:
    return {lane: LaneLoad(*load) for lane, load in controllers.workers.load().items()}


def until_done(do: Callable[[], T]) -> T:
    """Return what `do` returns; retry while the API server cannot be used."""
    logged = ""
    while True:
        try:
            return do()
        except NotFoundError:
            reason = "the CRDs of openeni.io are not installed: install the chart, or apply crds/"
        except StoreError as error:
            reason = f"the Kubernetes API server cannot be used: {error}"
        if reason != logged:
            LOG.warning("waiting to start: %s", reason)
            logged = reason
        time.sleep(START_RETRY_SECONDS)


if __name__ == "__main__":
    asked = read_command_line("openeni-operator", ANSWERS)
    sys.exit(answer(asked) if asked else main())
