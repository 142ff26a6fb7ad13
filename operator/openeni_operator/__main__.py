"""The operator's entry point: read settings, connect, build the controllers, run kopf."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import kopf

from openeni_crds.names import BUNDLE_VERSION, ENIPOOLS, MANAGER_OPERATOR, NAMESPACES
from openeni_kube.client import NotConfiguredError, connect
from openeni_kube.store import NotFoundError, Store, StoreError
from openeni_operator.cloud.call_limiter import CallLimiter, CallLimits
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.openstack import connect as connect_cloud
from openeni_operator.controllers import Controllers, build_controllers
from openeni_operator.handlers import build_registry, kopf_settings
from openeni_operator.process import logs
from openeni_operator.process.crd_version import report_difference
from openeni_operator.process.leadership import Leadership
from openeni_operator.process.probes import LoopCheck, ProbeError, Probes, serve_probes
from openeni_operator.settings import Settings, SettingsError, from_environment

LOG: Final = logging.getLogger("openeni_operator")
START_RETRY_SECONDS: Final = 2.0
T = TypeVar("T")
STOP_SECONDS: Final = 5.0  # for running reconciles to end; it is safe to cut one off


def main() -> int:
    """Run until a signal stops it.

    Exit status: 0 when stopped, 1 when it failed, 2 when a setting is wrong.
    """
    # Process 1 of a container ignores signals without a handler; kopf installs its own later.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(0))
    probes = Probes()
    try:
        settings = from_environment(os.environ)
        logs.configure(settings.log_level)
        store = connect(agent=MANAGER_OPERATOR, connections=settings.workers + 4)
        with serve_probes(probes, settings.probe_address, settings.probe_port):
            return run(settings, store, probes)
    except (SettingsError, NotConfiguredError, ProbeError) as error:
        sys.stderr.write(f"openeni-operator: {error}\n")
        return 2


def run(settings: Settings, store: Store, probes: Probes) -> int:
    """Wait to lead, then run kopf until a signal, or until another operator leads.

    Returns the exit status.
    """
    wait_for_crds(store)
    lost = threading.Event()
    leadership = lead(settings, store, probes, lost)
    limits = CallLimits(
        writes=settings.cloud_writes, reads=settings.cloud_reads, attaches=settings.cloud_attaches
    )
    may_write = leadership.holds if leadership else lambda: True
    clouds = Clouds(
        Path(settings.clouds_file),
        partial(connect_cloud, timeout=settings.cloud_timeout),
        lambda name: CallLimiter(name, limits, may_write=may_write),
    )
    controllers = start(settings, store, clouds)
    loop = LoopCheck()
    probes.started(
        {
            "watches": controllers.resync.healthy,
            "workers": controllers.workers.alive,
            "kopf": loop,
        }
    )
    try:
        kopf.run(
            registry=build_registry(controllers.state, loop),
            settings=kopf_settings(),
            standalone=True,
            clusterwide=True,
        )
    except Exception:
        LOG.exception("kopf has failed; the operator exits")
        return 1
    finally:
        if controllers.stop(STOP_SECONDS) and leadership:
            leadership.release()
    if lost.is_set() and leadership:
        LOG.error("%s leads now; this operator exits", leadership.leader)
        return 1
    LOG.info("operator stopped")
    return 0


def lead(
    settings: Settings, store: Store, probes: Probes, lost: threading.Event
) -> Leadership | None:
    """Wait to lead; when another operator leads later, set `lost` and stop kopf.

    Returns None where nobody is elected, outside a pod.
    """
    if not settings.namespace or not settings.pod:
        return None
    leadership = Leadership(store, settings.namespace, settings.pod)
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
    _until_done(lambda: store.list(ENIPOOLS))


def start(settings: Settings, store: Store, clouds: Clouds) -> Controllers:
    """Start the controllers; retry while the API server cannot be used."""

    def started() -> Controllers:
        namespace = store.get(NAMESPACES, "kube-system")
        controllers = build_controllers(settings, store, clouds, namespace["metadata"]["uid"])
        controllers.start()
        return controllers

    controllers = _until_done(started)
    report_difference(store)
    facts = {"version": BUNDLE_VERSION, "clouds_file": settings.clouds_file}
    LOG.info("operator started", extra=facts)
    return controllers


def _until_done(do: Callable[[], T]) -> T:
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
    sys.exit(main())
