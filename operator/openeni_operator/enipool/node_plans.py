"""Plan some nodes of a pool and carry the plans out: a failure on one node stops no other."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Final, TypeVar

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_kube.store import Store, StoreError
from openeni_operator.cluster_state import ClusterState
from openeni_operator.eni.created import CreatedENIs
from openeni_operator.enipool.capacity_status import Obstacle, stall_of
from openeni_operator.enipool.facts import PoolFacts, SubnetFacts, group_nodes, node_state
from openeni_operator.enipool.memory.measures import measured, note_look, seconds_until_change
from openeni_operator.enipool.memory.node_outcomes import Group, NodeOutcome
from openeni_operator.enipool.memory.pool_memory import PoolMemory
from openeni_operator.enipool.memory.subnet_usage import SubnetUsage, is_refused
from openeni_operator.enipool.port_selection import PortSelection, is_outdated
from openeni_operator.enipool.resolution import Resolution
from openeni_operator.enipool.served_pods import LOOK_SECONDS, ServedPods, WaitingCount
from openeni_operator.enipool.writes import ENIWriter
from openeni_operator.missing_nodes import NODE_GRACE_PERIOD
from openeni_operator.sizing.demand import needed_addresses, target_addresses
from openeni_operator.sizing.limits import ADDRESSES, PoolBudget, by_need
from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.state import Action, NodeState, Plan, SizingPolicy

T = TypeVar("T")
MIN_PAUSE: Final = 1.0  # seconds, between two plans of a node to which nothing happens


@dataclass(frozen=True)
class PlanClients:
    """What plans are carried out with."""

    state: ClusterState
    store: Store
    served_pods: ServedPods
    created: CreatedENIs
    threads: int  # that write at a time
    clock: Callable[[], float]  # monotonic seconds


@dataclass(frozen=True)
class _Decision:
    """What is to be done on one node."""

    node: str
    outcome: NodeOutcome
    actions: tuple[Action, ...] = ()
    outdated: tuple[ENI, ...] = ()  # that lack settings of the pool
    failure: str = ""  # for which there is no plan

    @property
    def writes(self) -> bool:
        """Return True if something is to be written: hardly any plan of a busy node does."""
        return bool(self.actions or self.outdated)


@dataclass(frozen=True)
class NodePlans:
    """The plans of one reconcile."""

    clients: PlanClients
    facts: PoolFacts
    resolution: Resolution | None  # without one nothing is created
    selection: PortSelection | None
    policy: SizingPolicy
    usage: SubnetUsage
    budget: PoolBudget
    memory: PoolMemory

    @property
    def pool(self) -> ENIPool:
        return self.facts.pool

    @cached_property
    def groups(self) -> Mapping[str, Group]:
        return {} if self.pool.metadata.deleting else group_nodes(self.facts, self.resolution)

    def carry_out(self, names: frozenset[str]) -> list[str]:
        """Plan these nodes and carry the plans out; return what has failed, to be done again."""
        states = self._node_states(names)
        decisions = [self._decide(node) for node in by_need(states)]
        failures = {d.node: [d.failure] if d.failure else list[str]() for d in decisions}
        writing = [decision for decision in decisions if decision.writes]
        tasks = [partial(self._execute, decision) for decision in writing]
        for decision, failed in zip(writing, run_tasks(tasks, self.clients.threads), strict=True):
            failures[decision.node] += failed
        for decision in decisions:
            again = bool(failures[decision.node])
            self.memory.planned(decision.node, decision.outcome, again=again)
        for name in names.difference(node.name for node in states):
            self.memory.planned(name, None)
        self.memory.history.begun = True
        return [failure for failed in failures.values() for failure in failed]

    def _node_states(self, names: Iterable[str]) -> list[NodeState]:
        """Return the nodes of the pool as the plan sees them, with what was measured before."""
        history, now = self.memory.history, self.clients.clock()
        note_look(history, self.facts, names, now)
        served = (name for name, group in self.groups.items() if group is Group.SERVED)
        subnets = SubnetFacts(
            frozenset(served if self.resolution is not None else ()), self.resolution, self.usage
        )
        states = (node_state(self.facts, n, subnets) for n in names if n in history.nodes)
        return [measured(state, history, self.policy, now) for state in states]

    def _decide(self, node: NodeState) -> _Decision:
        """Plan one node. What it gets of the pool's limits, the next one does not."""
        group = self.groups.get(node.name)
        policy = self.budget.bind(self.policy, node)
        try:
            count, planned = self._plan(node, policy)
        except StoreError as error:
            failure = f"node {node.name}: {error}"
            outdated = self._outdated(node.name)
            return _Decision(node.name, NodeOutcome(group), outdated=outdated, failure=failure)
        in_need = replace(node, waiting=count.least)
        due = self._due(node, count, planned)
        if self.pool.spec.paused:
            paused = planned.grows and in_need.pods_wait
            outcome = NodeOutcome(group, paused=paused, due=due)
            return _Decision(node.name, self._certain(node.name, outcome, count))
        allowed = (self.budget.allow(action, in_need) for action in planned.actions)
        actions = tuple(action for action in allowed if action is not None)
        own_limit = planned.limit_reached and plan(in_need, self.policy).limit_reached
        if planned.limit_reached and not own_limit:
            self.budget.refuse(ADDRESSES, node)
        outcome = NodeOutcome(
            group,
            at_limit=own_limit and not node.no_slot,
            without_slot=own_limit and node.no_slot,
            stall=self._stall(in_need, actions),
            limits=self.budget.waits_for(in_need),
            short=self._is_short(in_need),
            due=due,
        )
        outcome = self._certain(node.name, outcome, count)
        return _Decision(node.name, outcome, actions, self._outdated(node.name))

    def _stall(self, node: NodeState, actions: Collection[Action]) -> Obstacle | None:
        """Return why the node's pods wait, if it gets nothing and its ENIs are stalled.

        A pod that starts waits for its sandbox for a moment, also where addresses are free.
        """
        served = needed_addresses(node) <= sum(eni.serving for eni in node.enis)
        if not node.pods_wait or (served and not node.awaiting) or Plan(tuple(actions)).grows:
            return None
        return stall_of(node, self.facts.enis_by_node.get(node.name, ()))

    def _execute(self, decision: _Decision) -> list[str]:
        """Write what was decided for one node; return what has failed."""
        failures: list[str] = []
        clients = self.clients
        writer = ENIWriter(
            clients.state,
            clients.store,
            self.facts,
            self.usage,
            self.selection,
            clients.created,
            failures.append,
        )
        for eni in decision.outdated:
            try:
                writer.set_port_settings(eni)
            except StoreError as error:
                failures.append(f"ENI {eni.name}: {error}")
        try:
            for action in decision.actions:
                writer.execute(action, self.resolution)
        except StoreError as error:
            failures.append(f"node {decision.node}: {error}")
        return failures

    def _outdated(self, node: str) -> tuple[ENI, ...]:
        """Return the node's ENIs that lack the pool's settings; their controller changes ports."""
        selection = self.selection
        if selection is None or self.pool.spec.paused:
            return ()
        enis = self.facts.enis_by_node.get(node, ())
        return tuple(eni for eni in enis if is_outdated(self.pool, eni, selection))

    def _plan(self, node: NodeState, policy: SizingPolicy) -> tuple[WaitingCount, Plan]:
        """Plan the node; before it gets more for its waiting pods, leave out those served.

        Return how many are left, too. As long as there may be more of them, it only grows.
        """
        planned = plan(node, policy)
        if not (planned.grows and node.waiting):
            return WaitingCount(node.waiting), planned
        waiting, state = self.facts.waiting_for_any(node.name), self.clients.state
        pods = {p.uid: p.key for p in state.waiting_pods_on(node.name) if p.uid in waiting}
        count = self.clients.served_pods.count_waiting(self.pool.name, node, pods)
        planned = plan(replace(node, waiting=count.least), policy)
        return count, replace(planned, actions=planned.growth) if count.again else planned

    def _certain(self, name: str, outcome: NodeOutcome, count: WaitingCount) -> NodeOutcome:
        """Return the outcome, or the last one as long as more pods may wait than were counted.

        Conditions of the pool would come and go with each of them.
        """
        before = self.memory.outcomes.of(name)
        if not count.again or before is None:
            return outcome
        return replace(before, group=outcome.group, due=outcome.due)

    def _is_short(self, node: NodeState) -> bool:
        """Return True if the node may get more as soon as others leave more."""
        have = sum(eni.capacity for eni in node.enis)
        enis = self.facts.enis_by_node.get(node.name, ())
        return (
            (node.selected and target_addresses(node, self.policy) > have)
            or node.name in self.budget.refused
            or any(eni.refused for eni in node.enis)
            or any(map(is_refused, enis))
        )

    def _due(self, node: NodeState, count: WaitingCount, planned: Plan) -> float | None:
        """Return when the node is to be planned again, though nothing changes."""
        now, history = self.clients.clock(), self.memory.history
        ages = (self.facts.missing_for(e) for e in self.facts.enis_by_node.get(node.name, ()))
        # PodIPs are not watched: a pod may turn out to have been served by another's address
        served = node.waiting > count.least and not planned.grows
        seconds = [
            *seconds_until_change(node, history, self.policy, now),
            *(NODE_GRACE_PERIOD - age for age in ages if age is not None),
            *([count.again or LOOK_SECONDS] if count.again or served else ()),
        ]
        left = [max(MIN_PAUSE, s) for s in seconds if s > 0]
        return now + min(left) if left else None


def run_tasks(tasks: Sequence[Callable[[], T]], threads: int) -> list[T]:
    """Run the tasks, so many at a time, and return their results, in the tasks' order."""
    if min(threads, len(tasks)) <= 1:
        return [task() for task in tasks]
    with ThreadPoolExecutor(min(threads, len(tasks)), "pool-writes") as executor:
        running = [executor.submit(task) for task in tasks]
        return [task.result() for task in running]
