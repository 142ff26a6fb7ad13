"""How long an ENI has been idle is counted by the operator's clock, whatever a node's says."""

from msgspec.structs import replace

from openeni_crds.eni import ENI
from openeni_crds.meta import decode
from openeni_crds.status.eni import NodeStatus
from openeni_operator.eni.idle_times import IdleTimes
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.controller.simulation import Simulation
from openeni_testing.objects import eni_body

NOW = "2026-01-01T00:00:00Z"
LONG_AGO, LATER = "2025-12-31T23:00:00Z", "2026-01-01T01:00:00Z"


def an_eni(idle_since: str, uid: str = "1") -> ENI:
    eni = decode(eni_body("e"), ENI)
    status = replace(eni.status, node=NodeStatus(idle_since=idle_since))
    return replace(eni, metadata=replace(eni.metadata, uid=uid), status=status)


def test_an_idle_time_that_begins_is_counted_from_when_it_is_seen() -> None:
    clock = FakeClock()
    times = IdleTimes(clock)
    assert times.of("p", [an_eni("")], NOW) == {}
    for since in (LONG_AGO, LATER):
        assert times.of("p", [an_eni(since)], NOW) == {"e": 0}
        clock.advance(7)
        assert times.of("p", [an_eni(since)], NOW) == {"e": 7}
    assert times.of("p", [an_eni("")], NOW) == {}


def test_what_was_there_at_the_start_is_as_old_as_its_times_say() -> None:
    times = IdleTimes(FakeClock())
    assert times.of("p", [an_eni(LONG_AGO)], NOW) == {"e": 3600}
    assert times.of("p", [an_eni(LATER)], NOW) == {"e": 0}


def test_another_eni_of_the_same_name_and_a_pool_of_the_same_name_begin_anew() -> None:
    clock = FakeClock()
    times = IdleTimes(clock)
    times.of("p", [an_eni(NOW)], NOW)
    clock.advance(60)
    assert times.of("p", [an_eni(NOW, uid="2")], NOW) == {"e": 0}
    clock.advance(60)
    times.forget_eni("p", "e")
    assert times.of("p", [an_eni(NOW, uid="2")], NOW) == {"e": 0}
    clock.advance(60)
    times.forget("p")
    assert times.of("p", [an_eni(NOW, uid="2")], NOW) == {"e": 0}


def test_enis_are_reclaimed_in_time_though_the_clocks_of_their_nodes_are_wrong() -> None:
    sim = Simulation(nodes=2)
    sim.skew = {"n1": -3600, "n2": 3600}
    sim.add_pool(reclaim={"policy": "After", "after": "15m"})
    sim.settle(100)
    for node in sim.nodes:
        for n in range(3):
            sim.add_pod(f"{node}-{n}", node)
    sim.settle(100)
    assert len(sim.ready()) == 4
    for eni in sim.enis():
        assert eni.status.port is not None
        sim.granted[eni.name] = {eni.status.port.addresses[0]}
    sim.remove_pods()
    sim.settle(100)
    sim.granted.clear()
    sim.settle(800)
    assert len(sim.ready()) == 4
    sim.settle(300)
    assert len(sim.ready()) == 2
