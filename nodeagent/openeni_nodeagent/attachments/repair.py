"""Repair what differs between journal, kernel, PodIPs and pods: at start, then periodically."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from openeni_nodeagent.attachments.commands import CniCommands, pod_interface
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.protocol import CniError
from openeni_nodeagent.datapath_api import DatapathError, NodeDatapath
from openeni_nodeagent.grants.adoption import (
    APART_SECONDS,
    Adopt,
    Disown,
    End,
    Finding,
    NodeObservation,
    Reconnect,
    findings,
    sentence,
)
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.ledger import Grant

PERIOD_SECONDS: Final = 30.0
_log: Final = logging.getLogger(__name__)


class Repair:
    """A timer calls `run`, only while the informers are synced and up to date."""

    def __init__(
        self,
        grants: Grants,
        datapath: NodeDatapath,
        commands: CniCommands,
        caches: Caches,
        is_prepared: Callable[[str], bool],
    ) -> None:
        self._grants = grants
        self._datapath = datapath
        self._commands = commands
        self._caches = caches
        self._is_prepared = is_prepared
        self._since: dict[Finding, float] = {}

    def reserve(self) -> None:
        """Reserve the addresses that the kernel has without a grant, before any is granted."""
        unknown = self._grants.reserve(self._datapath.pods())
        if unknown:
            _log.warning("in the kernel without a grant, reserved: %s", ", ".join(sorted(unknown)))

    def run(self) -> float:
        """Repair what differs; return the seconds until the next run."""
        grants = tuple(g for g in self._grants.all() if self._is_prepared(g.eni))
        # Read after the grants: a grant that ends in between is no difference.
        kernel = frozenset(self._datapath.pods())
        found = findings(self._observe(grants, kernel))
        now = time.monotonic()
        self._since = {finding: self._since.get(finding, now) for finding in found}
        for finding in found:
            self._repair(finding, now - self._since[finding])
        self._grants.retain_reserved(kernel)
        return PERIOD_SECONDS

    def _observe(self, grants: tuple[Grant, ...], kernel: frozenset[str]) -> NodeObservation:
        pods = self._caches.pods.all()
        return NodeObservation(
            grants,
            kernel,
            self._grants.reserved(),
            self._caches.podips.all(),
            frozenset(pod.metadata.uid for pod in pods),
            frozenset(address.ip for pod in pods for address in pod.status.pod_ips),
            {g.netns: Path(g.netns).exists() for g in grants if g.netns},
            {eni.name: eni.spec.mtu for eni in self._caches.enis.all()},
        )

    def _repair(self, finding: Finding, lasted: float) -> None:
        what = sentence(finding)
        try:
            match finding:
                case Adopt(grant):
                    _log.warning("%s: adopting the address for that pod", what)
                    self._grants.adopt(grant)
                case Reconnect(grant):
                    self._reconnect(grant, what)
                case End(grant) if lasted >= APART_SECONDS:
                    _log.warning("%s: ending its grant", what)
                    self._commands.end(grant)
                case Disown(address) if lasted >= APART_SECONDS:
                    _log.warning("%s: removing it from the kernel", what)
                    self._datapath.delete_address(address)
                case _:
                    _log.info("%s: looking again before anything is done", what)
        except (DatapathError, CniError) as error:
            _log.warning("%s: repair failed and will be retried: %s", what, error)

    def _reconnect(self, grant: Grant, what: str) -> None:
        facts = self._grants.facts(grant.eni)
        if facts is None:
            return
        _log.warning("%s: building it again", what)
        self._commands.reconnect(grant, pod_interface(grant, facts))
