"""Repair what differs between journal, kernel, PodIPs and pods: at start, then periodically."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from openeni_crds.meta import seconds
from openeni_nodeagent.attachments.commands import CNICommands, pod_interface
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.datapath_api import DatapathError, NodeDatapath
from openeni_nodeagent.grants.adoption import (
    CONFIRM_SECONDS,
    Adopt,
    EndGrant,
    NodeObservation,
    Reconnect,
    RemoveStrayAddress,
    RepairAction,
    describe,
    plan_repair,
)
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import JournalError
from openeni_nodeagent.grants.ledger import AddressOwnedError, Grant

REPAIR_PERIOD_SECONDS: Final = 30.0
_log: Final = logging.getLogger(__name__)


class Repair:
    """A timer calls `run`, only while the informers are synced and up to date."""

    def __init__(
        self,
        grants: Grants,
        datapath: NodeDatapath,
        commands: CNICommands,
        caches: Caches,
        is_link_ready: Callable[[str], bool],
    ) -> None:
        self._grants = grants
        self._datapath = datapath
        self._commands = commands
        self._caches = caches
        self._is_link_ready = is_link_ready
        self._since: dict[RepairAction, float] = {}

    def reserve(self) -> None:
        """Reserve the addresses that the kernel has without a grant, before any is granted."""
        unknown = self._grants.reserve(self._datapath.pods())
        if unknown:
            _log.warning(
                "addresses %s are in the kernel without a grant; "
                "they stay reserved until repair finds their owner",
                ", ".join(sorted(unknown)),
            )

    def run(self) -> None:
        """Repair what differs."""
        grants = tuple(g for g in self._grants.all() if self._is_link_ready(g.eni))
        # Read after the grants: a grant that ends in between is no difference.
        kernel = frozenset(self._datapath.pods())
        planned = plan_repair(self._observe(grants, kernel))
        now = time.monotonic()
        self._since = {action: self._since.get(action, now) for action in planned}
        for action in planned:
            self._repair(action, now - self._since[action])
        self._grants.retain_reserved(kernel)

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
            {pool.name: seconds(pool.spec.cool_down) for pool in self._caches.pools.all()},
        )

    def _repair(self, action: RepairAction, planned_for: float) -> None:
        """Take an action, which has been planned for that many seconds."""
        what = describe(action)
        try:
            match action:
                case Adopt(grant):
                    _log.warning("%s: adopting the address for that pod", what)
                    self._grants.adopt(grant)
                case Reconnect(grant):
                    self._reconnect(grant, what)
                case EndGrant(grant) if planned_for >= CONFIRM_SECONDS:
                    _log.warning("%s: ending its grant", what)
                    self._commands.end_grant(grant)
                case RemoveStrayAddress(address) if planned_for >= CONFIRM_SECONDS:
                    _log.warning("%s: removing it from the kernel", what)
                    self._datapath.delete_address(address)
                case _:
                    _log.info("%s: looking again before anything is done", what)
        except (DatapathError, CNIError, JournalError, AddressOwnedError) as error:
            _log.warning("%s: repair failed and will be retried: %s", what, error)

    def _reconnect(self, grant: Grant, what: str) -> None:
        facts = self._grants.facts(grant.eni)
        if facts is None:
            return
        _log.warning("%s: building it again", what)
        self._commands.reconnect(grant, pod_interface(grant, facts))
