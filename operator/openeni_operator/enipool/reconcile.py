"""Reconcile one ENIPool: gather facts, resolve names, plan each node, write ENIs and the status."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from openeni_crds.capacity import Growth
from openeni_crds.conditions import Condition, Type, find
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import encode
from openeni_crds.names import ENIPOOLS, ENIS, FINALIZER_ENIPOOL
from openeni_kube.events import Recorder
from openeni_kube.result import Done, RequeueAfter, Result, Retry
from openeni_kube.store import ConflictError, Store, StoreError
from openeni_operator.cause import Cause
from openeni_operator.claims import in_transit_to
from openeni_operator.cloud import errors
from openeni_operator.cluster_state import ClusterState
from openeni_operator.enipool.facts import sizing_policy
from openeni_operator.enipool.growth_probe import GrowthProbe
from openeni_operator.enipool.memory.pool_memory import Basis, ENISource, PoolMemory, Room
from openeni_operator.enipool.memory.subnet_usage import ExhaustedSubnets, SubnetUsage
from openeni_operator.enipool.node_plans import NodePlans, PlanClients
from openeni_operator.enipool.observe import PoolSources
from openeni_operator.enipool.port_selection import select_settings
from openeni_operator.enipool.resolution import Resolution
from openeni_operator.enipool.status import (
    StatusInputs,
    current_status,
    desired_status,
    without_counts,
)
from openeni_operator.objects.finalizers import add_finalizer, remove_finalizer
from openeni_operator.objects.status_writer import CHANGED_SECONDS, write_status
from openeni_operator.process.transitions import record_transitions
from openeni_operator.sizing.limits import PoolBudget, pool_budget

# All in seconds.
RECHECK: Final = 15.0  # for what only a person or the cloud can correct
COUNTS_INTERVAL: Final = 10.0  # between two writes of counts, which every agent receives
FAILURES_SHOWN: Final = 3  # of one reconcile, in the log


@dataclass(frozen=True)
class PoolDependencies:
    """Clients and caches of the ENIPool controller."""

    sources: PoolSources
    clients: PlanClients
    resolve: Callable[[ENIPool], Resolution | Cause]  # raises CloudError
    exhausted: ExhaustedSubnets
    growth: GrowthProbe
    recorder: Recorder
    ports_owned: Callable[[str], Condition | None]  # of a cloud, once its ports were looked at
    # Of a cloud, by what a pool has: None if it does not tell.
    credentials: Callable[[str, Condition | None], Condition | None]

    @property
    def state(self) -> ClusterState:
        return self.clients.state

    @property
    def store(self) -> Store:
        return self.clients.store

    @property
    def clock(self) -> Callable[[], float]:
        return self.clients.clock


class PoolReconciler:
    """Called with a pool's name by the work queue, which never runs one key twice at once."""

    def __init__(self, deps: PoolDependencies) -> None:
        self._deps = deps
        self._memories: dict[str, PoolMemory] = {}  # by the pool's name

    def __call__(self, name: str) -> Result:
        pool = self._deps.state.pool(name)
        if pool is None:
            self._memories.pop(name, None)
            self._deps.state.forget_changes(name)
            self._deps.sources.idle_times.forget(name)
            return Done()
        try:
            memory = self._memories.setdefault(name, PoolMemory())
            return _PoolReconcile(self._deps, pool, memory).run()
        except ConflictError:
            return RequeueAfter(CHANGED_SECONDS, "it has changed meanwhile")
        except StoreError as error:
            return Retry(str(error))


@dataclass(frozen=True)
class _PoolReconcile:
    """One reconcile of one pool: of the nodes that something has changed about."""

    deps: PoolDependencies
    pool: ENIPool
    memory: PoolMemory

    def run(self) -> Result:
        deleting = self.pool.metadata.deleting
        if not deleting and FINALIZER_ENIPOOL not in self.pool.metadata.finalizers:
            body = add_finalizer(self.deps.store, ENIPOOLS, self.pool.metadata, FINALIZER_ENIPOOL)
            self.deps.state.put(ENIPOOLS, body)
            return RequeueAfter(0, "the finalizer was added")
        if deleting and self.is_empty():
            remove_finalizer(self.deps.store, ENIPOOLS, self.pool.metadata, FINALIZER_ENIPOOL)
            return Done()
        inputs = self.cloud_inputs()
        inputs = inputs if deleting else self.resolve_names(inputs)
        self.memory.note(self.deps.state.take_changes(self.pool.name))
        self.memory.rest_on(self.basis(inputs), self.deps.clock())
        self.sum_up()
        growth = self.deps.growth(
            self.pool, inputs.resolution, self.enis, denied=self.memory.totals.denied
        )
        inputs = replace(inputs, growth=growth)
        failures = self.plan_nodes(inputs)
        counts_due = self.write_status(inputs)
        return self.result(inputs, failures, counts_due)

    def enis(self) -> tuple[ENI, ...]:
        return self.deps.state.enis_of(self.pool.name)

    def cloud_inputs(self) -> StatusInputs:
        """Return what all pools of the cloud report."""
        cloud = self.pool.spec.cloud
        before = find(self.pool.status.conditions, Type.CREDENTIALS_CURRENT)
        return StatusInputs(
            ports_owned=self.deps.ports_owned(cloud),
            credentials=self.deps.credentials(cloud, before),
        )

    def is_empty(self) -> bool:
        """Return True if no ENI is left; confirm with a list, the cache may be stale."""
        if self.enis():
            return False
        selector = f"spec.poolName={self.pool.name}"
        return not self.deps.store.list(ENIS, field_selector=selector).items

    def resolve_names(self, inputs: StatusInputs) -> StatusInputs:
        """Look up in the cloud what the pool's spec names."""
        try:
            resolved = self.deps.resolve(self.pool)
        except errors.CloudError as error:
            return replace(inputs, cloud_failure=Cause(error.reason, error.message))
        if isinstance(resolved, Cause):
            return replace(inputs, pool_failure=resolved)
        selection = select_settings(self.pool, resolved)
        return replace(inputs, resolution=resolved, selection=selection)

    def basis(self, inputs: StatusInputs) -> Basis:
        metadata, resolution = self.pool.metadata, inputs.resolution
        return Basis(metadata.uid, metadata.deleting, self.pool.spec, resolution, inputs.selection)

    def sum_up(self) -> None:
        """Bring the sums over ENIs up to date."""
        state = self.deps.state
        self.memory.sum_up(self.pool, ENISource(state.eni, state.enis), self.deps.sources.now())
        for name in self.memory.forget_gone():
            self.deps.sources.idle_times.forget_eni(self.pool.name, name)

    def plan_nodes(self, inputs: StatusInputs) -> list[str]:
        """Plan the nodes that may need it, and carry out the plans; return what has failed."""
        elastic, clock = inputs.growth.growth is Growth.ELASTIC, self.deps.clock
        memory, sources, limits = self.memory, self.deps.sources, self.pool.spec.limits
        usage = self.deps.exhausted.usage(memory.promises)
        totals, kept = memory.totals, in_transit_to(self.deps.state, self.pool.name)
        budget = pool_budget(limits, len(totals.names), totals.held, kept)
        names = memory.choose_nodes(
            lambda: sources.nodes_of(self.pool), room_of(budget, usage), clock(), elastic=elastic
        )
        plans = NodePlans(
            clients=self.deps.clients,
            facts=sources.observe(self.pool, sorted(names), elastic=elastic),
            resolution=inputs.resolution,
            selection=inputs.selection,
            policy=sizing_policy(self.pool, elastic=elastic),
            usage=usage,
            budget=budget,
            memory=memory,
        )
        failures = plans.carry_out(names)
        memory.leave(room_of(budget, usage))
        return failures

    def write_status(self, inputs: StatusInputs) -> float | None:
        """Write the status if it has changed.

        Counts alone are not written more often than COUNTS_INTERVAL. Return the seconds until they
        may be, if they wait for that.
        """
        self.memory.note(self.deps.state.take_changes(self.pool.name))
        self.sum_up()
        outcomes = self.memory.outcomes
        current = replace(
            inputs,
            enis=self.memory.totals.summary(self.deps.state.eni),
            nodes=outcomes.groups(),
            limits_reached=outcomes.limits,
            waiting=outcomes.waiting,
        )
        desired = desired_status(self.pool, current, self.deps.sources.now())
        before = current_status(self.pool)
        if desired == before:
            return None
        written = self.memory.counted
        left = written + COUNTS_INTERVAL - self.deps.clock() if written is not None else 0.0
        if left > 0 and without_counts(desired) == without_counts(before):
            return left
        # A zero is a count, too, but omitted as the field's default.
        counts = {"eniCount": desired.eni_count, "freeCount": desired.free_count}
        metadata, status = self.pool.metadata, encode(desired) | counts
        write_status(self.deps.store, self.deps.state, ENIPOOLS, metadata, status)
        conditions = before.conditions, desired.conditions
        record_transitions(self.deps.recorder, ENIPOOLS, metadata, *conditions)
        self.memory.counted = self.deps.clock()
        return None

    def result(self, inputs: StatusInputs, failures: list[str], counts_due: float | None) -> Result:
        if failures:
            return Retry("; ".join(failures[:FAILURES_SHOWN]))
        if inputs.failure is not None:
            return RequeueAfter(RECHECK, inputs.failure.message)
        expiries = (self.memory.outcomes.next_due(), *self.expiries(inputs))
        due = [at - self.deps.clock() for at in expiries if at is not None]
        due += [counts_due] if counts_due is not None else []
        return RequeueAfter(max(1.0, min(due)), "something is due") if due else Done()

    def expiries(self, inputs: StatusInputs) -> tuple[float | None, ...]:
        """Return when what the plans rest on holds no more, though nothing in the cluster changes.

        An answer of the cloud that several pools share has no event that would wake them.
        """
        found = inputs.resolution.subnets if inputs.resolution else ()
        exhausted = self.deps.exhausted.next_end([s.subnet.id for s in found])
        return exhausted, inputs.growth.until


def room_of(budget: PoolBudget, usage: SubnetUsage) -> Room:
    """Return what the budget and the subnets have left at present."""
    return Room(budget.enis, budget.addresses, dict(usage.promised), usage.exhausted)
