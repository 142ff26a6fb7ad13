"""Repair what differs between grants, kernel, PodIPs and pods, after each look at the node."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from openeni_crds.meta import seconds
from openeni_nodeagent.attachments.container_locks import ContainerLocks
from openeni_nodeagent.attachments.detacher import Detacher
from openeni_nodeagent.cluster.cache import by_name
from openeni_nodeagent.cluster.objects import Pod, runtime_uid
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.grants.adoption import (
    CONFIRM_SECONDS,
    LONGEST_COOL_DOWN_SECONDS,
    Adopt,
    AdoptedENI,
    EndGrant,
    NodeObservation,
    ObservedPod,
    RemoveStrayAddress,
    RepairAction,
    describe,
    plan_repair,
)
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.journal import JournalError
from openeni_nodeagent.grants.ledger import AddressOwnedError
from openeni_nodeagent.grants.netns_identity import leads_to_pod
from openeni_nodeagent.pod_options import PortMapping

_log: Final = logging.getLogger(__name__)


class Repairs:
    """One thread calls `run`, only while the informers are up to date."""

    def __init__(
        self,
        grants: Grants,
        caches: Caches,
        locks: ContainerLocks,
        *,
        detacher: Detacher,
        is_link_ready: Callable[[str], bool],
    ) -> None:
        self._grants = grants
        self._locks = locks
        self._detacher = detacher
        self._caches = caches
        self._is_link_ready = is_link_ready
        self._since: dict[RepairAction, float] = {}
        self._unexplained: frozenset[str] = frozenset()

    def run(
        self,
        grants: tuple[Grant, ...],
        kernel: Mapping[str, str],
        host_ports: Mapping[str, tuple[PortMapping, ...]],
    ) -> None:
        """Repair what differs between grants, what a later look found, and the API.

        It found addresses and their devices, and the host ports that lead to them.
        """
        unexplained = self._grants.unexplained()
        if new := unexplained - self._unexplained:
            _log.warning(
                "addresses %s are in the kernel without a grant; "
                "they stay reserved until their owner is found",
                ", ".join(sorted(new)),
            )
        self._unexplained = unexplained
        planned = plan_repair(self._observe(grants, kernel, host_ports))
        now = time.monotonic()
        self._since = {action: self._since.get(action, now) for action in planned}
        for action in planned:
            self._repair(action, now - self._since[action])

    def _observe(
        self,
        grants: tuple[Grant, ...],
        kernel: Mapping[str, str],
        host_ports: Mapping[str, tuple[PortMapping, ...]],
    ) -> NodeObservation:
        caches = self._caches
        return NodeObservation(
            grants,
            kernel,
            self._grants.unexplained(),
            caches.podips.all(),
            {pod.metadata.uid: _observed(pod) for pod in caches.pods.all()},
            frozenset(g.attachment for g in grants if leads_to_pod(g.netns, g)),
            frozenset(g.attachment for g in grants if self._has_ready_link(g)),
            {
                eni.name: AdoptedENI(eni.spec.mtu, eni.status.port.id if eni.status.port else "")
                for eni in caches.enis.all()
            },
            {pool.name: seconds(pool.spec.cool_down) for pool in caches.pools.all()},
            host_ports,
        )

    def _has_ready_link(self, grant: Grant) -> bool:
        facts = self._grants.facts_of(grant)  # which may be a former port's, by a name of its own
        return facts is not None and self._is_link_ready(facts.name)

    def _repair(self, action: RepairAction, planned_for: float) -> None:
        """Take an action, which has been planned for that many seconds."""
        what = describe(action)
        try:
            match action:
                case Adopt(grant, known):
                    self._adopt(grant, known, what)
                case EndGrant(grant, reason) if planned_for >= CONFIRM_SECONDS:
                    _log.warning("%s: ending its grant", what)
                    self._detacher.end(grant, reason)
                case RemoveStrayAddress(address) if planned_for >= CONFIRM_SECONDS:
                    _log.warning("%s: the next look removes it from the kernel", what)
                    self._grants.end_unexplained(address, self._longest_cool_down())
                case _ if planned_for == 0.0:
                    _log.info("%s: looking again before anything is done", what)
                case _:
                    pass
        except (CNIError, JournalError, AddressOwnedError) as error:
            _log.warning("%s: repair failed and will be retried: %s", what, error)

    def _adopt(self, grant: Grant, known: Grant | None, what: str) -> None:
        """Adopt a grant, unless it has changed since. Raises what `_repair` expects."""
        with self._locks.locked(grant.attachment.container_id):
            if self._grants.find(*grant.key) == known:
                _log.warning("%s: adopting the address for that pod", what)
                self._grants.adopt(grant)

    def _longest_cool_down(self) -> float:
        """Return the longest cool-down of any pool: which one the address is of is not known."""
        cool_downs = (seconds(pool.spec.cool_down) for pool in self._caches.pools.all())
        return max(cool_downs, default=LONGEST_COOL_DOWN_SECONDS)


def _observed(pod: Pod) -> ObservedPod:
    addresses = frozenset(address.ip for address in pod.status.pod_ips)
    return ObservedPod(runtime_uid(pod.metadata), addresses, by_name(pod.metadata))
