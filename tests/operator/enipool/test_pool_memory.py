"""What a pool's memory keeps up to date is what a count from scratch finds."""

from dataclasses import replace as with_fields

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openeni_crds.conditions import Condition, Reason, Status, Type
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import decode
from openeni_crds.status.eni import NodeStatus, PortStatus, PortSubnet
from openeni_operator.eni.report import agent_report, held_by
from openeni_operator.enipool.capacity_status import Obstacle
from openeni_operator.enipool.memory.node_outcomes import Group, NodeOutcome, NodeOutcomes
from openeni_operator.enipool.memory.pool_memory import (
    WHOLE_SECONDS,
    Basis,
    ENISource,
    PoolMemory,
    Room,
)
from openeni_operator.enipool.memory.subnet_usage import Promises
from openeni_operator.index.changes import Changes
from openeni_testing.objects import eni_body, pool_body

NOW = "2026-01-01T00:00:00Z"
POOL = decode(pool_body("pods"), ENIPool)
BASIS = Basis("", deleting=False, spec=POOL.spec, resolution=None, selection=None)
NAMES = ("a", "b", "c", "d")
NO_ROOM = Room(None, None, {}, frozenset())
CONDITIONS = (
    Condition(Type.READY, Status.TRUE, Reason.READY),
    Condition(Type.READY, Status.FALSE, Reason.QUOTA_EXCEEDED, "used up"),
    Condition(Type.PORT_READY, Status.FALSE, Reason.SUBNET_EXHAUSTED, "full"),
    Condition(Type.SIZED, Status.FALSE, Reason.DENIED, "not yours"),
    Condition(Type.UP_TO_DATE, Status.FALSE, Reason.UPDATING),
    Condition(Type.UP_TO_DATE, Status.FALSE, Reason.QUOTA_EXCEEDED, "no tags"),
    Condition(Type.CNI_CONFIGURED, Status.FALSE, Reason.OTHER_CNI, "05-x.conflist"),
)


@st.composite
def enis(draw: st.DrawFn) -> ENI:
    node, pool = draw(st.sampled_from(("n1", "n2"))), draw(st.sampled_from(("pods", "other")))
    made = decode(eni_body(draw(st.sampled_from(NAMES)), node=node, pool=pool), ENI)
    count = draw(st.integers(1, 5))
    addresses = tuple(f"10.98.0.{n}" for n in range(3, 3 + count))
    subnet = PortSubnet(made.spec.subnet_ids[0], "10.98.0.0/22")
    port = PortStatus(
        "port", "", "fa:16:3e:00:00:01", 1, 1450, (subnet,), ("10.98.0.2",), addresses
    )
    granted = draw(st.integers(0, count))
    conditions = draw(st.lists(st.sampled_from(CONDITIONS), max_size=3, unique_by=type_of))
    status = replace(
        made.status,
        port=draw(st.sampled_from((port, None))),
        node=NodeStatus(granted=granted, available=count - granted),
        conditions=tuple(conditions),
    )
    deleted = draw(st.sampled_from(("", NOW)))
    metadata = replace(made.metadata, deletion_timestamp=deleted)
    return replace(made, metadata=metadata, status=status)


def type_of(condition: Condition) -> str:
    return condition.type


class Cluster:
    """ENIs by name, and a memory that is told what changes."""

    def __init__(self) -> None:
        self.enis: dict[str, ENI] = {}
        self.memory = PoolMemory()

    def sum_up(self, memory: PoolMemory, clock: float = 0.0) -> None:
        memory.rest_on(BASIS, clock)
        memory.sum_up(POOL, ENISource(self.enis.get, self.enis.values), NOW)

    def choose(self, memory: PoolMemory, room: Room = NO_ROOM, clock: float = 0.0) -> set[str]:
        every = [e.spec.node_name for e in self.enis.values()]
        return set(memory.choose_nodes(lambda: every, room, clock, elastic=False))


@given(st.lists(st.tuples(enis(), st.booleans()), max_size=25))
def test_the_sums_are_those_of_a_count_from_scratch(changes: list[tuple[ENI, bool]]) -> None:
    cluster = Cluster()
    cluster.sum_up(cluster.memory)
    cluster.choose(cluster.memory)
    for eni, removed in changes:
        cluster.enis.pop(eni.name, None)
        if not removed:
            cluster.enis[eni.name] = eni
        cluster.memory.note(Changes(enis={eni.name}))
        cluster.sum_up(cluster.memory)
    scratch = PoolMemory()
    cluster.sum_up(scratch)
    get = cluster.enis.get
    assert cluster.memory.totals.summary(get) == with_fields(
        scratch.totals.summary(get), other_cni=scratch.totals.summary(get).other_cni
    )
    own = [e for e in cluster.enis.values() if e.spec.pool_name == POOL.name]
    summary, reports = scratch.totals.summary(get), [agent_report(e, NOW) for e in own]
    assert (summary.count, summary.present) == (
        len(own),
        sum(not e.metadata.deleting for e in own),
    )
    assert summary.addresses.granted == sum(r.granted for r in reports)
    assert summary.addresses.available == sum(r.available for r in reports)
    assert scratch.totals.held == sum(map(held_by, own))
    assert cluster.memory.totals.held == scratch.totals.held
    assert cluster.memory.totals.denied == scratch.totals.denied
    assert cluster.memory.promises.promised == scratch.promises.promised
    assert set(cluster.memory.promises.refused) == set(scratch.promises.refused)


def test_enis_that_are_gone_are_told_once() -> None:
    cluster = Cluster()
    eni = decode(eni_body("a"), ENI)
    for changes in (Changes(enis={"a"}), Changes(everything=True)):
        cluster.enis["a"] = eni
        cluster.memory.note(Changes(enis={"a"}))
        cluster.sum_up(cluster.memory)
        assert set(cluster.memory.forget_gone()) == set()
        del cluster.enis["a"]
        cluster.memory.note(changes)
        cluster.sum_up(cluster.memory)
        assert set(cluster.memory.forget_gone()) == {"a"}
        assert set(cluster.memory.forget_gone()) == set()


def test_nodes_stay_to_be_planned_until_they_are() -> None:
    cluster = Cluster()
    cluster.enis = {n: decode(eni_body(n, node=f"node-{n}"), ENI) for n in "ab"}
    cluster.sum_up(cluster.memory)
    assert cluster.choose(cluster.memory) == {"node-a", "node-b"}
    cluster.memory.planned("node-a", NodeOutcome())
    assert cluster.choose(cluster.memory) == {"node-b"}, "its plan has failed"
    cluster.memory.planned("node-b", NodeOutcome(due=30.0))
    assert cluster.choose(cluster.memory, clock=29.0) == set()
    cluster.memory.note(Changes(nodes={"node-a"}))
    assert cluster.choose(cluster.memory, clock=30.0) == {"node-a", "node-b"}


def test_everything_is_gone_over_from_time_to_time_and_when_its_basis_changes() -> None:
    cluster = Cluster()
    cluster.enis = {"a": decode(eni_body("a"), ENI)}

    def chosen(basis: Basis, clock: float) -> set[str]:
        cluster.memory.rest_on(basis, clock)
        cluster.memory.sum_up(POOL, ENISource(cluster.enis.get, cluster.enis.values), NOW)
        found = cluster.choose(cluster.memory, clock=clock)
        for name in found:
            cluster.memory.planned(name, NodeOutcome())
        return found

    assert chosen(BASIS, 0) == {"n1"}
    assert chosen(BASIS, WHOLE_SECONDS - 1) == set()
    assert chosen(BASIS, WHOLE_SECONDS) == {"n1"}
    assert chosen(with_fields(BASIS, deleting=True), WHOLE_SECONDS + 1) == {"n1"}


def test_a_node_that_lacks_addresses_is_planned_when_there_is_more_room_anywhere() -> None:
    cluster = Cluster()
    before = Room(1, 10, {"s": 5}, frozenset({"t"}))
    cluster.sum_up(cluster.memory)
    cluster.choose(cluster.memory, before)
    cluster.memory.planned("n1", NodeOutcome(short=True))
    cluster.memory.planned("n2", NodeOutcome())
    cluster.memory.leave(before)
    for room, more in (
        (before, False),
        (with_fields(before, enis=0, addresses=3, promised={"s": 9}), False),
        (before, True),
        (with_fields(before, promised={"s": 4}), True),
        (with_fields(before, promised={}, exhausted=frozenset()), True),
        (with_fields(before, enis=None), True),
    ):
        assert cluster.choose(cluster.memory, room) == ({"n1"} if more else set())
        if more:
            cluster.memory.planned("n1", NodeOutcome(short=True))
        cluster.memory.leave(room)


def test_what_the_last_plans_have_used_up_and_is_free_again_is_more_room() -> None:
    cluster = Cluster()
    before = Room(1, None, {}, frozenset())
    cluster.sum_up(cluster.memory)
    cluster.choose(cluster.memory, before)
    cluster.memory.planned("n1", NodeOutcome(short=True))
    cluster.memory.leave(with_fields(before, enis=0))
    assert cluster.choose(cluster.memory, before) == {"n1"}


def test_a_node_whose_plan_has_failed_counts_with_what_it_came_to() -> None:
    cluster = Cluster()
    cluster.enis = {"a": decode(eni_body("a"), ENI)}
    cluster.sum_up(cluster.memory)
    cluster.choose(cluster.memory)
    cluster.memory.planned("n1", NodeOutcome(group=Group.SERVED), again=True)
    assert set(cluster.memory.outcomes.groups().served) == {"n1"}
    assert cluster.choose(cluster.memory) == {"n1"}


outcomes = st.builds(
    NodeOutcome,
    group=st.sampled_from((None, *Group)),
    at_limit=st.booleans(),
    without_slot=st.booleans(),
    stall=st.sampled_from((None, Obstacle("Conflict", "a"), Obstacle("NICMissing", "b"))),
    limits=st.sampled_from(((), ("maxENIs",), ("maxAddresses", "maxENIs"))),
    paused=st.booleans(),
    short=st.booleans(),
    due=st.sampled_from((None, 1.0, 2.0, 3.0)),
)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.none() | outcomes), max_size=40),
    st.floats(0, 4),
)
def test_the_nodes_of_outcomes_are_those_of_a_count_from_scratch(
    replaced: list[tuple[str, NodeOutcome | None]], now: float
) -> None:
    kept, last = NodeOutcomes(), dict[str, NodeOutcome]()
    for name, outcome in replaced:
        kept.replace(name, outcome)
        last.pop(name, None)
        if outcome is not None:
            last[name] = outcome
    groups = kept.groups()
    for group in Group:
        found = getattr(groups, group.value)
        assert set(found) == {n for n, o in last.items() if o.group is group}
    assert set(groups.at_limit) == {n for n, o in last.items() if o.at_limit}
    assert set(groups.without_slot) == {n for n, o in last.items() if o.without_slot}
    stalls = {n: o.stall for n, o in last.items() if o.stall is not None}
    assert set(groups.stalled) == stalls.keys()
    assert groups.first_stall == stalls.get(min(stalls, default=""))
    assert set(kept.short) == {n for n, o in last.items() if o.short}
    assert set(kept.waiting) == {n for n, o in last.items() if o.limits or o.paused}
    assert set(kept.limits) == {limit for o in last.values() for limit in o.limits}
    due = {n: o.due for n, o in last.items() if o.due is not None}
    assert kept.next_due() == min(due.values(), default=None)
    assert kept.take_due(now) == {n for n, at in due.items() if at <= now}
    assert kept.take_due(now) == set()
    later = [at for at in due.values() if at > now]
    assert kept.next_due() == min(later, default=None)


def test_what_the_list_shows_is_not_promised() -> None:
    eni = decode(eni_body("a"), ENI)
    subnet = PortSubnet(eni.spec.subnet_ids[0], "10.98.0.0/22")
    port = PortStatus("p", "", "fa:16:3e:00:00:01", 1, 1450, (subnet,), ("10.98.0.2",), ())
    on_port = replace(eni, status=replace(eni.status, port=port))
    for listed, shown, missing in ((0, eni, 16), (16, eni, 16), (16, on_port, 0), (9, on_port, 7)):
        promises = Promises({"p": listed})
        promises.replace("a", shown)
        assert promises.promised[eni.spec.subnet_ids[0]] == missing
