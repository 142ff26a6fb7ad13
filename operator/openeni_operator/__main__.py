"""The composition root: settings, API server, clouds, and kopf around them."""

import logging
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import kopf

from openeni_crds.names import ENIPOOLS, MANAGER_OPERATOR, NAMESPACES
from openeni_kube.client import NotConfiguredError, connect
from openeni_kube.store import NotFoundError, Store, StoreError
from openeni_operator import logs
from openeni_operator.cloud.calls import Door, Limits
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.openstack import connect as connect_cloud
from openeni_operator.handlers import operator_settings, registry_of
from openeni_operator.settings import Settings, SettingsError, from_environment
from openeni_operator.wiring import Operator, assemble

LOG: Final = logging.getLogger("openeni_operator")
AGAIN: Final = 2.0  # seconds between looks for the API server at start
STOPPING: Final = 5.0  # seconds for reconciles to end in; being cut off is safe, too


def main() -> int:
    """Run until told to stop. Exit status: 0 stopped, 1 failed, 2 a setting is wrong."""
    try:
        settings = from_environment(os.environ)
        logs.set_up(settings.log_level)
        store = connect(agent=MANAGER_OPERATOR, connections=settings.workers + 4)
    except (SettingsError, NotConfiguredError) as error:
        sys.stderr.write(f"openeni-operator: {error}\n")
        return 2
    limits = Limits(writes=settings.cloud_writes, reads=settings.cloud_reads)
    clouds = Clouds(
        Path(settings.clouds_file),
        partial(connect_cloud, timeout=settings.cloud_timeout),
        lambda name: Door(name, limits),
    )
    operator = begin(settings, store, clouds)
    try:
        kopf.run(
            registry=registry_of(operator),
            settings=operator_settings(),
            standalone=True,
            clusterwide=True,
            liveness_endpoint=endpoint(settings.probe_port),
        )
    except Exception:
        LOG.exception("the shell has ended")
        return 1
    finally:
        operator.stop(STOPPING)
    LOG.info("stopped")
    return 0


def begin(settings: Settings, store: Store, clouds: Clouds) -> Operator:
    """Wait for the API server and the CRDs, then start; each reason to wait is told once."""
    told = ""
    while True:
        try:
            namespace = store.get(NAMESPACES, "kube-system")
            store.list(ENIPOOLS)
            operator = assemble(settings, store, clouds, namespace["metadata"]["uid"])
            operator.start()
        except NotFoundError:
            why = "the CRDs of openeni.io are not installed: install the chart, or apply crds/"
        except StoreError as error:
            why = f"the Kubernetes API server does not serve us: {error}"
        else:
            LOG.info("started", extra={"clouds_file": settings.clouds_file})
            return operator
        if why != told:
            LOG.warning("waiting", extra={"why": why})
            told = why
        time.sleep(AGAIN)


def endpoint(port: int) -> str | None:
    """Where kubelet asks whether the operator lives; None for nowhere."""
    return f"http://0.0.0.0:{port}/healthz" if port else None


if __name__ == "__main__":
    sys.exit(main())
