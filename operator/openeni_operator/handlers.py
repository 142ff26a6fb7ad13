"""Run kopf, whose handlers update the cluster state with events of ENIPools, and nothing else.

A handler that only enqueues costs a third of kopf's own bookkeeping (measured) and writes no
annotations, and level-based reconciles need no record of the events that were handled. Every other
kind, with many objects that often change, comes through an informer (`controllers.py`): a fifth of
the CPU for each event.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import kopf

from openeni_crds.names import Kind
from openeni_operator.cluster_state import ClusterState
from openeni_operator.objects.invalid_objects import put_valid
from openeni_operator.process.probes import LoopCheck
from openeni_operator.process.relists import Relists
from openeni_operator.resync import KOPF_KINDS

LOG: Final = logging.getLogger(__name__)
RESTART_SECONDS: Final = 2.0
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def run_kopf(state: ClusterState, loop: LoopCheck, relists: Relists) -> None:
    """Run kopf until a signal; `loop` will check its event loop.

    kopf ends with the first error of a watch but 410, such as 504 after etcd was restored from a
    backup, or goes on and hears nothing. Nothing else needs to end with it: it is run again, and
    lists everything.
    """
    stopped = threading.Event()
    while not stopped.is_set():
        end, failure = asyncio.Event(), None
        try:
            kopf.run(
                registry=build_registry(state, loop, partial(_begin, relists, end, stopped)),
                settings=kopf_settings(),
                standalone=True,
                clusterwide=True,
                stop_flag=end,
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, kopf is run again
            failure = error
        for number in SIGNALS:  # kopf's loop has taken its handlers along: at once
            signal.signal(number, lambda _number, _frame: stopped.set())
        if failure:
            LOG.error("kopf has failed and is run again", exc_info=failure)
        if relists.take():
            LOG.info("kopf is run again, to list everything")
            for kind in KOPF_KINDS:
                state.rewind(kind)
        elif not failure:
            return
        stopped.wait(RESTART_SECONDS)


def _begin(relists: Relists, end: asyncio.Event, stopped: threading.Event) -> None:
    """Let the run that begins, in its event loop, be ended from any thread."""
    running = asyncio.get_running_loop()

    def end_run() -> None:
        for number in SIGNALS:  # kopf heeds none any more while it ends
            running.add_signal_handler(number, stopped.set)
        end.set()

    relists.begin(partial(running.call_soon_threadsafe, end_run))
    if stopped.is_set():
        end.set()


def kopf_settings() -> kopf.OperatorSettings:
    """Configure kopf as a plain source of watch events."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.scanning.disabled = True  # the kinds are known: do not watch CRDs and namespaces
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = (1, 1, 2, 2, 3, 3, 5)  # a watch recovers within 5 s
    # kopf keeps a worker task alive this long after an object's last event
    settings.queueing.idle_timeout = 1
    return settings


def build_registry(
    state: ClusterState, loop: LoopCheck, begin: Callable[[], object]
) -> kopf.OperatorRegistry:
    """Register the event handlers and the login; `loop` will check kopf's event loop.

    `begin` is called in it when kopf has started.
    """
    registry = kopf.OperatorRegistry()
    for kind in KOPF_KINDS:
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(
            _event_handler(kind, state)
        )
    kopf.on.login(registry=registry)(_login)

    @kopf.on.startup(registry=registry)
    async def started(**_: Any) -> None:
        loop.watch(asyncio.get_running_loop())
        begin()

    return registry


def _event_handler(kind: Kind, state: ClusterState) -> Any:
    async def handle(event: Any, **_: Any) -> None:
        body = event["object"]
        if event["type"] == "DELETED":
            state.delete(kind, body)
        else:
            put_valid(state, kind, body)

    return handle


def _login(**arguments: Any) -> kopf.ConnectionInfo | None:
    """Use the same API server as the store: $KUBECONFIG, else the pod's service account.

    kopf connects to `kubernetes.default.svc`. A pod with hostNetwork resolves names by the host's
    DNS, which does not know that one, so use the address in kubelet's environment variables.
    """
    if os.environ.get("KUBECONFIG"):
        return kopf.login_with_kubeconfig(**arguments)
    account = kopf.login_with_service_account(**arguments)
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if account is None or not host:
        return account
    address = f"[{host}]" if ":" in host else host
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return replace(account, server=f"https://{address}:{port}")
