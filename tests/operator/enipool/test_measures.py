"""What a pool's reconcile sees becomes what its nodes have to expect."""

from dataclasses import replace

import msgspec
import pytest

from openeni_crds.conditions import Reason, Type, condition
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import decode
from openeni_crds.status.eni import PortStatus, PortSubnet
from openeni_operator.core_objects import Node
from openeni_operator.enipool.facts import PoolFacts
from openeni_operator.enipool.memory.measures import (
    measured,
    note_look,
    seconds_until_change,
    seconds_until_reclaim,
)
from openeni_operator.sizing.history import PoolHistory
from openeni_operator.sizing.state import ENIState, NodeState, SizingPolicy
from openeni_testing.objects import eni_body, pool_body

POLICY = SizingPolicy(8, 2, 2, reclaim_after=900, elastic=True)
NODE = Node("n1", {}, "server", 110)
SUBNET = PortSubnet("s", "10.98.0.0/22")


def look(second: float, waiting: int = 0, *, ready: bool = True, addresses: int = 8) -> PoolFacts:
    """Return what is seen: an ENI that was created at 0 s, and shall have 8 addresses."""
    made = decode(eni_body("e"), ENI)
    port = PortStatus(
        "p", "", "fa:16:3e:00:00:01", 1, 1450, (SUBNET,), ("10.98.0.2",), addresses_of(addresses)
    )
    reason = Reason.READY if ready else Reason.WAITING_FOR_PORT
    conditions = (condition(Type.READY, reason, status=ready),)
    eni = msgspec.structs.replace(
        made,
        metadata=msgspec.structs.replace(made.metadata, creation_timestamp=at(0)),
        spec=msgspec.structs.replace(made.spec, address_count=8),
        status=msgspec.structs.replace(made.status, port=port, conditions=conditions),
    )
    pods = frozenset(f"{second}-{n}" for n in range(waiting))
    return PoolFacts(
        pool=decode(pool_body("pods"), ENIPool),
        nodes={"n1": NODE},
        enis=(eni,),
        waiting={"n1": pods},
        missing={},
        idle={},
        now=at(second),
        elastic=True,
    )


def addresses_of(count: int) -> tuple[str, ...]:
    return tuple(f"10.98.0.{n}" for n in range(10, 10 + count))


def at(second: float) -> str:
    return f"2026-01-01T00:{int(second) // 60:02}:{int(second) % 60:02}Z"


def node_with(*enis: ENIState) -> NodeState:
    return NodeState("n1", enis)


FULL = ENIState("e", 8, granted=8, ready=True, wanted=8)
GROWING = replace(FULL, addresses=6, wanted=6, granted=6)


def test_a_node_expects_the_pods_that_arrive_while_it_is_filled() -> None:
    history = PoolHistory()
    note_look(history, look(0, ready=False), ["n1"], 0)
    note_look(history, look(60), ["n1"], 60)  # an ENI takes a minute
    for second in range(60, 160, 10):
        note_look(history, look(second, waiting=1), ["n1"], second)
    note_look(history, look(160, addresses=4), ["n1"], 160)
    note_look(history, look(190, waiting=0), ["n1"], 190)  # addresses take half of one
    full = measured(node_with(FULL), history, POLICY, 200)
    assert full.expected == 2, "ten pods in five minutes, and another ENI takes one"
    assert measured(node_with(GROWING), history, POLICY, 200).expected == 1
    assert measured(node_with(FULL), history, POLICY, 600).expected == 0


def test_a_node_is_looked_at_again_when_its_last_arrivals_do_not_count_any_more() -> None:
    history, policy = PoolHistory(begun=True), replace(POLICY, reclaim_after=None)
    for second in (0, 100, 200):
        note_look(history, look(second, waiting=1), ["n1"], second)
    assert seconds_until_change(node_with(FULL), history, policy, 200) == [300]
    assert measured(node_with(FULL), history, policy, 500).expected == 0
    assert seconds_until_change(node_with(FULL), history, policy, 500) == []


def test_an_eni_without_a_slot_is_looked_at_again_when_it_may_go() -> None:
    node = node_with(replace(FULL, ready=False, no_slot=True, stalled_seconds=600))
    assert seconds_until_change(node, PoolHistory(), SizingPolicy(8, 2, 2), 0) == [3000]


def test_a_process_that_has_just_begun_expects_nothing_and_takes_nothing() -> None:
    history = PoolHistory()
    note_look(history, look(0, waiting=50), ["n1"], 0)
    found = measured(node_with(FULL), history, POLICY, 0)
    assert (found.expected, found.peak) == (0, None)


def test_the_peak_is_known_after_the_time_of_the_reclaim() -> None:
    history = PoolHistory()
    for second in (0, 450, 899):
        note_look(history, look(second), ["n1"], second)
        assert measured(node_with(GROWING), history, POLICY, second).peak is None
    assert measured(node_with(GROWING), history, POLICY, 900).peak == 6 + 2 + 2


@pytest.mark.parametrize("selected", [True, False])
def test_a_surplus_is_looked_at_again_when_it_may_go(*, selected: bool) -> None:
    history = PoolHistory()
    node = replace(node_with(replace(FULL, granted=1)), selected=selected)
    note_look(history, look(0), ["n1"], 0)
    node = measured(node, history, POLICY, 0)
    due = seconds_until_reclaim(node, history, POLICY, 0)
    assert due == ([900] if selected else [])


def test_a_retired_eni_does_not_change_what_is_expected() -> None:
    """Else its retirement is withdrawn, which changes it back, in turns as fast as they go."""
    history = PoolHistory()
    note_look(history, look(0, ready=False), ["n1"], 0)
    note_look(history, look(120), ["n1"], 120)  # an ENI takes two minutes, an addition no time
    for second in range(120, 160, 10):
        note_look(history, look(second, waiting=1), ["n1"], second)
    idle = ENIState("idle", 2, ready=True, wanted=2, idle_seconds=900)
    node = measured(node_with(FULL, idle), history, POLICY, 160)
    retired = replace(idle, retiring=True, all_asked=True, all_retired=True)
    assert measured(node_with(FULL, retired), history, POLICY, 160).expected == node.expected > 0
