"""Bring journal, kernel, PodIPs and pods together again after a start, and look now and then."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_crds.eni import ENI
from openeni_crds.podip import PodIP
from openeni_nodeagent.attachments.commands import CniCommands, pod_facts
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.objects import Pod
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
)
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.ledger import Grant

PERIOD_SECONDS: Final = 30.0
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Caches:
    pods: Cache[Pod]
    podips: Cache[PodIP]
    enis: Cache[ENI]


class Repair:
    """`look` is a timer's; call it only while the caches are filled and heard of lately."""

    def __init__(
        self,
        grants: Grants,
        datapath: NodeDatapath,
        commands: CniCommands,
        caches: Caches,
        prepared: Callable[[str], bool],
    ) -> None:
        self._grants = grants
        self._datapath = datapath
        self._commands = commands
        self._caches = caches
        self._prepared = prepared
        self._seen: dict[Finding, float] = {}

    def reserve(self) -> None:
        """Before anything is granted: keep back what the kernel carries for nobody we know."""
        unknown = self._grants.reserve(self._datapath.pods())
        if unknown:
            _log.warning("carried by the kernel without a grant: %s", ", ".join(sorted(unknown)))

    def look(self) -> float:
        """Find and repair; return in how many seconds to look again."""
        grants = tuple(g for g in self._grants.all() if self._prepared(g.eni))
        kernel = frozenset(self._datapath.pods())  # after the grants: one that ended is no surprise
        found = findings(self._observe(grants, kernel))
        now = time.monotonic()
        self._seen = {finding: self._seen.get(finding, now) for finding in found}
        for finding in found:
            self._repair(finding, now - self._seen[finding])
        self._grants.keep_reserved(kernel)
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
        try:
            match finding:
                case Adopt(grant):
                    self._adopt(grant)
                case Reconnect(grant):
                    self._reconnect(grant)
                case End(grant) if lasted >= APART_SECONDS:
                    _log.warning("%s: pod and namespace are gone, its grant ends", _told(grant))
                    self._commands.end(grant)
                case Disown(address) if lasted >= APART_SECONDS:
                    _log.warning("%s has no owner on this node: removed from the kernel", address)
                    self._datapath.delete_address(address)
                case _:
                    _log.info("not in agreement, looking again: %s", finding)
        except (DatapathError, CniError) as error:
            _log.warning("repair of %s failed: %s", finding, error)

    def _adopt(self, grant: Grant) -> None:
        _log.warning("%s: adopted from its PodIP, the journal had lost it", _told(grant))
        self._grants.adopt(grant)

    def _reconnect(self, grant: Grant) -> None:
        facts = self._grants.facts(grant.eni)
        if facts is None:
            return
        _log.warning("%s: its datapath had gone and is made again", _told(grant))
        self._commands.reconnect(grant, pod_facts(grant, facts))


def _told(grant: Grant) -> str:
    return f"pod {grant.namespace}/{grant.name} ({', '.join(grant.addresses)})"
