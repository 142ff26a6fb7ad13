"""The operator's entry point: read settings, connect, build the controllers, run kopf."""

import logging
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import kopf

from openeni_crds.names import ENIPOOLS, MANAGER_OPERATOR, NAMESPACES
from openeni_kube.client import NotConfiguredError, connect
from openeni_kube.store import NotFoundError, Store, StoreError
from openeni_operator.cloud.call_limiter import CallLimiter, CallLimits
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.openstack import connect as connect_cloud
from openeni_operator.controllers import Controllers, build_controllers
from openeni_operator.handlers import build_registry, kopf_settings
from openeni_operator.process import logs
from openeni_operator.process.crd_version import report_difference
from openeni_operator.process.probes import LoopCheck, ProbeError, Probes, serve_probes
from openeni_operator.settings import Settings, SettingsError, from_environment

LOG: Final = logging.getLogger("openeni_operator")
START_RETRY_SECONDS: Final = 2.0
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
    """Start, then run kopf until a signal; return the exit status."""
    limits = CallLimits(writes=settings.cloud_writes, reads=settings.cloud_reads)
    clouds = Clouds(
        Path(settings.clouds_file),
        partial(connect_cloud, timeout=settings.cloud_timeout),
        lambda name: CallLimiter(name, limits),
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
        controllers.stop(STOP_SECONDS)
    LOG.info("operator stopped")
    return 0


def start(settings: Settings, store: Store, clouds: Clouds) -> Controllers:
    """Wait for the API server and the CRDs, then start; log each reason to wait once."""
    logged = ""
    while True:
        try:
            namespace = store.get(NAMESPACES, "kube-system")
            store.list(ENIPOOLS)
            controllers = build_controllers(settings, store, clouds, namespace["metadata"]["uid"])
            controllers.start()
        except NotFoundError:
            reason = "the CRDs of openeni.io are not installed: install the chart, or apply crds/"
        except StoreError as error:
            reason = f"the Kubernetes API server cannot be used: {error}"
        else:
            report_difference(store)
            LOG.info("operator started", extra={"clouds_file": settings.clouds_file})
            return controllers
        if reason != logged:
            LOG.warning("waiting to start: %s", reason)
            logged = reason
        time.sleep(START_RETRY_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
