"""kopf handlers: every watch event updates the cluster state; kopf does nothing else.

A handler that only enqueues costs a third of kopf's own bookkeeping (measured) and writes no
annotations, and level-based reconciles need no record of the events that were handled.
"""

import asyncio
import os
from dataclasses import replace
from typing import Any

import kopf
import msgspec

from openeni_crds.names import Kind
from openeni_operator.cluster_state import FIELD_SELECTORS, WATCHED_KINDS, ClusterState
from openeni_operator.invalid_objects import log_invalid
from openeni_operator.process.probes import LoopCheck


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
    for kind, selector in FIELD_SELECTORS.items():
        settings.watching.field_selectors[kind.group, kind.version, kind.plural] = selector
    return settings


def build_registry(state: ClusterState, loop: LoopCheck) -> kopf.OperatorRegistry:
    """Register the event handlers and the login; `loop` will check kopf's event loop."""
    registry = kopf.OperatorRegistry()
    for kind in WATCHED_KINDS:
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(
            _event_handler(kind, state)
        )
    kopf.on.login(registry=registry)(_login)

    @kopf.on.startup(registry=registry)
    async def started(**_: Any) -> None:
        loop.watch(asyncio.get_running_loop())

    return registry


def _event_handler(kind: Kind, state: ClusterState) -> Any:
    async def handle(event: Any, **_: Any) -> None:
        body = event["object"]
        try:
            if event["type"] == "DELETED":
                state.delete(kind, body)
            else:
                state.put(kind, body)
        except msgspec.ValidationError as error:
            log_invalid(kind, body, error)

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
