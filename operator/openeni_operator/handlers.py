"""kopf, the outer shell: its watches feed our own mirror and queue; nothing else is asked of it.

Measured: a handler that only enqueues costs a third of kopf's own bookkeeping,
writes no annotations, and level-based reconciles need no memory of which event was handled.
"""

import logging
import os
from dataclasses import replace
from typing import Any, Final

import kopf
import msgspec

from openeni_crds.names import Kind
from openeni_operator.mirror import KINDS, SELECTORS, Mirror
from openeni_operator.wiring import Operator

LOG: Final = logging.getLogger(__name__)


def operator_settings() -> kopf.OperatorSettings:
    """Kopf as a plain source of watch events."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.posting.loggers = False
    settings.scanning.disabled = True  # our kinds are known; no watch on CRDs and namespaces
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = (1, 1, 2, 2, 3, 3, 5)  # a watch is back within 5 s
    settings.queueing.idle_timeout = 1  # a task an object lives that long after its last event
    for kind, selector in SELECTORS.items():
        settings.watching.field_selectors[kind.group, kind.version, kind.plural] = selector
    return settings


def registry_of(operator: Operator) -> kopf.OperatorRegistry:
    """Every handler that there is."""
    registry = kopf.OperatorRegistry()
    for kind in KINDS:
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(
            _eyes(kind, operator.mirror)
        )
    kopf.on.login(registry=registry)(_log_in)

    @kopf.on.probe(registry=registry, id="watches")
    def watches(**_: Any) -> str:
        if not operator.resync.healthy():
            raise kopf.PermanentError("a watch brings nothing any more")
        return "fresh"

    @kopf.on.probe(registry=registry, id="workers")
    def alive(**_: Any) -> str:
        if not operator.workers.alive():
            raise kopf.PermanentError("a worker has died")
        return "alive"

    return registry


def _eyes(kind: Kind, mirror: Mirror) -> Any:
    async def handle(event: Any, **_: Any) -> None:
        body = event["object"]
        try:
            if event["type"] == "DELETED":
                mirror.drop(kind, body)
            else:
                mirror.put(kind, body)
        except msgspec.ValidationError as error:
            name = body["metadata"]["name"]
            LOG.warning(
                "an object does not fit its kind",
                extra={"kind": kind.name, "object": name, "error": str(error)},
            )

    return handle


def _log_in(**arguments: Any) -> kopf.ConnectionInfo | None:
    """The same choice as the store's: $KUBECONFIG, else the pod's service account.

    kopf takes `kubernetes.default.svc` for the server's name; a pod in its host's network asks the
    host's DNS, which does not know it: kubelet's variables hold the address.
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
