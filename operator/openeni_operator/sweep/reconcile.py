"""Sweep the ports of this cluster in one cloud: look, compare with the looks before, delete."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from openeni_crds.enipool import ENIPool
from openeni_crds.names import ENIPOOLS
from openeni_kube.result import Blocked, Done, Result, Retry
from openeni_kube.store import StoreError
from openeni_operator.cloud import errors
from openeni_operator.cloud.api import Cloud
from openeni_operator.keys import Key
from openeni_operator.settings import OrphanMode
from openeni_operator.sweep.observe import Look, Sources, look
from openeni_operator.sweep.plan import LOOK_INTERVAL, SweepPlan, first_seen, plan
from openeni_operator.sweep.report import PortReports, ports_owned, report

PASS_SECONDS: Final = 120.0  # after a look, in which the deletions that follow from it are made


@dataclass(frozen=True)
class SweepDependencies:
    """Clients and caches of the sweep."""

    sources: Sources
    cloud: Callable[[str], Cloud]
    mode: OrphanMode
    reports: PortReports
    enqueue: Callable[[Iterable[Key]], None]  # called with pools whose condition is another
    clock: Callable[[], float]  # monotonic seconds


@dataclass
class _Looks:
    """The looks at one cloud so far. A restart forgets them: then all that is missing is new."""

    last: float | None = None
    ports: dict[object, float] = field(default_factory=dict[object, float])
    lost: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    deletions: list[str] = field(default_factory=list[str])  # those of the last look to be made


class SweepReconciler:
    """Called with a cloud's name by the work queue at each resync.

    It looks at most once in LOOK_INTERVAL, and makes one call for each port to be deleted.
    """

    def __init__(self, deps: SweepDependencies) -> None:
        self._deps = deps
        self._looks: dict[str, _Looks] = {}

    def __call__(self, name: str) -> Result:
        if name not in self._deps.sources.state.clouds():
            self._looks.pop(name, None)
            self._deps.reports.forget(name)
            return Done()
        looks = self._looks.setdefault(name, _Looks())
        try:
            cloud = self._deps.cloud(name)
            if looks.last is None or self._deps.clock() - looks.last >= LOOK_INTERVAL:
                self._look(cloud, name, looks)
            if not self._is_paused(name):
                self._delete(cloud, looks)
        except errors.CloudError as error:
            return Blocked(error.message)  # nobody waits for a sweep: the next resync tries again
        except StoreError as error:
            return Retry(str(error))
        return Done()

    def _look(self, cloud: Cloud, name: str, looks: _Looks) -> None:
        """Take a look, plan and report. Raises CloudError and StoreError: then nothing is known."""
        now = self._deps.clock()
        found = self._judge(name, look(self._deps.sources, cloud, name), looks, now)
        looks.last, looks.deletions = now, list(found.deletions)
        owned = ports_owned(found)
        if owned is not None and self._deps.reports.put(name, owned):
            self._deps.enqueue(Key(ENIPOOLS, pool.name) for pool in self._pools(name))
        report(name, found, owned)

    def _judge(self, name: str, found: Look, looks: _Looks, now: float) -> SweepPlan:
        """Plan by what this look and those before it have shown."""
        looks.ports = first_seen(looks.ports, (port.situation for port in found.ports), now)
        looks.lost = first_seen(looks.lost, found.lost, now)
        return plan(
            (replace(p, agreed_for=now - looks.ports[p.situation]) for p in found.ports),
            self._deps.mode,
            {eni: now - since for (eni, _), since in looks.lost.items()},
            paused=self._is_paused(name),
        )

    def _is_paused(self, name: str) -> bool:
        """Return True if a pool of the cloud is paused: no port tells the pool that it was for."""
        return any(pool.spec.paused for pool in self._pools(name))

    def _pools(self, name: str) -> list[ENIPool]:
        """Return the pools of the cloud."""
        return [pool for pool in self._deps.sources.state.pools() if pool.spec.cloud == name]

    def _delete(self, cloud: Cloud, looks: _Looks) -> None:
        """Delete the ports; those for which there is no time in this pass wait for a new look."""
        while looks.deletions:
            if looks.last is None or self._deps.clock() - looks.last > PASS_SECONDS:
                looks.deletions.clear()
                return
            # The call limiter logs a failure; the next look shows whether the port is still there.
            with suppress(errors.CloudError):
                cloud.delete_port(looks.deletions[0])
            del looks.deletions[0]
