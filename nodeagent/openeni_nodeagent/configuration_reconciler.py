"""Configure the container runtime of this node for openeni, or take that back."""

import logging
from collections.abc import Callable
from typing import Final

from openeni_crds.conditions import Condition, Reason, Type, condition
from openeni_crds.names import LABEL_MIGRATE
from openeni_crds.selection import NodeTraits, selects_node, server_of
from openeni_kube.result import RequeueAfter, Result, Retry
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.configuration import Action, ConfigurationFacts, Decision, decide
from openeni_nodeagent.cni.install import HostFiles, InstallError
from openeni_nodeagent.enis.eni_reconciler import ENIReconciler
from openeni_nodeagent.grants.grants import Grants

LOOK_SECONDS: Final = 10.0  # another plugin's configuration raises no event
_log: Final = logging.getLogger(__name__)


class ConfigurationReconciler:
    """A work queue calls `reconcile`; any thread may read `condition`."""

    def __init__(
        self,
        node: str,
        files: HostFiles,
        caches: Caches,
        grants: Grants,
        links: ENIReconciler,
        *,
        is_synced: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        """`on_change` is called after the condition has changed."""
        self._node = node
        self._files = files
        self._caches = caches
        self._grants = grants
        self._links = links
        self._is_synced = is_synced
        self._on_change = on_change
        self._condition = _condition(Reason.WAITING_FOR_AGENT, "the agent starts", None)

    def condition(self) -> Condition:
        """Return the condition CNIConfigured, without generation and time."""
        return self._condition

    def reconcile(self, _: str) -> Result:
        """Look at the node, do what is decided, and look again later."""
        if not self._is_synced():
            return RequeueAfter(LOOK_SECONDS)
        try:
            decision = decide(self._facts())
            self._do(decision)
        except InstallError as error:
            self._report(_condition(Reason.INSTALL_FAILED, str(error), status=False))
            return Retry(f"the container runtime of this node cannot be configured: {error}")
        self._report(decision.condition)
        return RequeueAfter(LOOK_SECONDS)

    def _facts(self) -> ConfigurationFacts:
        enis = self._caches.enis.all()
        return ConfigurationFacts(
            selected=self._is_selected(),
            enis=len(enis),
            link_ready=any(self._links.is_link_ready(eni.name) for eni in enis),
            grants=len(self._grants.all()),
            installed=self._files.installed(),
            others=self._files.others(),
            migrating=self._is_migrating(),
        )

    def _is_migrating(self) -> bool:
        node = self._caches.nodes.get(self._node)
        return node is not None and node.metadata.labels.get(LABEL_MIGRATE) == "true"

    def _is_selected(self) -> bool:
        node = self._caches.nodes.get(self._node)
        if node is None:
            return False
        traits = NodeTraits(node.metadata.labels, server_of(node.spec.provider_id))
        return any(selects_node(pool, traits) for pool in self._caches.pools.all())

    def _do(self, decision: Decision) -> None:
        match decision.action:
            case Action.INSTALL:
                if self._files.install():
                    _log.info("pods of this node get their network from openeni now")
            case Action.REMOVE:
                self._files.remove()
                _log.info("no pool serves this node: removed openeni's CNI configuration")
            case Action.LEAVE:
                pass
        if decision.serving:
            self._files.mark()

    def _report(self, found: Condition) -> None:
        if found != self._condition:
            if found.reason == Reason.OTHER_CNI:
                _log.warning("%s", found.message)
            self._condition = found
            self._on_change()


def _condition(reason: Reason, message: str, status: bool | None) -> Condition:
    return condition(Type.CNI_CONFIGURED, reason, message, status=status)
