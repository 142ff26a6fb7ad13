"""A pod that starts where an address is free does not wait for an ENI that is stalled."""

import math

from openeni_crds.conditions import Reason, Status, Type
from openeni_operator.cloud.errors import OutcomeUnknownError
from openeni_operator.sizing.stalls import STUCK_SECONDS
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import pool_condition
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.simulation import Simulation


def test_the_pool_does_not_say_so_whenever_a_pod_starts() -> None:
    sim = Simulation()
    sim.resync_at = math.inf
    capacity = {"addressesPerENI": 2, "minAvailable": 0, "maxENIsPerNode": 4}
    sim.add_pool(capacity=capacity, reclaim={"policy": "Never"})
    pods = PodRunner(sim)
    pods.start(2)
    assert pods.pass_time(60) == 0
    sim.cloud.fail("attach port", *[Fault(OutcomeUnknownError("Nova does not answer"))] * 10_000)
    pods.start(1)
    assert pods.pass_time(3 * STUCK_SECONDS) == 1
    assert pool_condition(sim, Type.CAPACITY_AVAILABLE).reason == Reason.OUTCOME_UNKNOWN
    pods.end(2)
    assert pods.pass_time(60) == 0
    for _ in range(5):
        pods.start(1)
        sim.run_events(2)
        assert pool_condition(sim, Type.CAPACITY_AVAILABLE).status == Status.TRUE
        assert pods.run() == 0
        sim.run_events(20)
        pods.end(1)
        sim.run_events(20)
