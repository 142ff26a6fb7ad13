"""An ENI that never becomes Ready by its own fault leaves no pod waiting, or the pool says so."""

import math
from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason, Status, Type, find
from openeni_crds.names import ENIS, NODES, TAINT_AGENT_NOT_READY, eni_name
from openeni_operator.cloud.errors import (
    CloudError,
    CredentialsInvalidError,
    OutcomeUnknownError,
    QuotaExceededError,
    ResourceConflictError,
    ThrottledError,
)
from openeni_operator.enipool.capacity_status import (
    NodeGroups,
    Obstacle,
    capacity_obstacles,
)
from openeni_operator.sizing.plan import FAILURE_MEMORY_SECONDS
from openeni_operator.sizing.stalls import STUCK_SECONDS
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import pool_condition
from openeni_testing.controller.pod_runner import PodRunner
from openeni_testing.controller.simulation import Simulation

FIRST, SECOND = (eni_name("pods", "n1", n) for n in range(2))
CAPACITY = {"addressesPerENI": 2, "minAvailable": 0, "maxENIsPerNode": 4}
SOON = {"policy": "After", "after": "1m"}
BUSY = "Port is still in use."


def a_pool(**capacity: object) -> PodRunner:
    """Return a pool on a node where one pod waits; only events and due times wake anything."""
    sim = Simulation()
    sim.resync_at = math.inf
    sim.add_pool(capacity={**CAPACITY, **capacity}, reclaim=SOON)
    runner = PodRunner(sim)
    runner.start(1)
    return runner


def refuse_attachments(sim: Simulation, patched: pytest.MonkeyPatch, *enis: str) -> set[str]:
    """Let Nova refuse to attach the ports of these ENIs; return the names, to be changed."""
    refused, attach = set(enis), sim.cloud.attach

    def attach_others(server_id: str, port_id: str) -> None:
        names = {e.status.port.id: e.name for e in sim.enis() if e.status.port}
        if names.get(port_id) in refused:
            sim.cloud.fail("attach port", Fault(ResourceConflictError(BUSY)))
        attach(server_id, port_id)

    patched.setattr(sim.cloud, "attach", attach_others)
    return refused


def names(sim: Simulation) -> list[str]:
    return [eni.name for eni in sim.enis()]


def reasons_of_events(sim: Simulation) -> set[str]:
    """Return the reasons of the pool's events."""
    return {e.reason for e in sim.process.recorded.events if e.regarding.name == "pods"}


def reason_of(sim: Simulation, eni: str) -> str:
    found = find(sim.eni(eni).status.conditions, Type.READY)
    assert found is not None
    return found.reason


@pytest.mark.parametrize("growth", ["Static", "Elastic"])
def test_a_port_that_cannot_be_attached_is_passed_over_until_it_can_be(
    growth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = a_pool(growth=growth)
    sim = runner.sim
    refused = refuse_attachments(sim, monkeypatch, FIRST)
    assert runner.pass_time(STUCK_SECONDS - 60) == 1
    assert names(sim) == [FIRST]
    assert reason_of(sim, FIRST) == Reason.CONFLICT
    assert runner.pass_time(120) == 0
    assert names(sim) == [FIRST, SECOND]
    sim.restart()
    assert runner.pass_time(STUCK_SECONDS) == 0
    assert names(sim) == [FIRST, SECOND], "it is kept, and nothing more is made"
    refused.clear()
    runner.start(2)
    assert runner.pass_time(120) == 0
    assert names(sim) == [FIRST, SECOND], "it serves pods now"
    assert pool_condition(sim, Type.CAPACITY_AVAILABLE).status == Status.TRUE


def test_a_nic_that_the_agent_never_finds_is_passed_over() -> None:
    runner = a_pool()
    runner.sim.missing_nics = {FIRST}
    runner.pass_time(STUCK_SECONDS - 60)
    assert reason_of(runner.sim, FIRST) == Reason.NIC_MISSING
    assert runner.pass_time(120) == 0
    assert names(runner.sim) == [FIRST, SECOND]


def test_a_port_that_somebody_has_disabled_keeps_its_pods_and_gets_no_others() -> None:
    runner = a_pool()
    sim = runner.sim
    assert runner.pass_time(60) == 0
    port = sim.eni(FIRST).status.port
    assert port is not None
    sim.cloud.ports[port.id] = replace(sim.cloud.ports[port.id], enabled=False)
    sim.settle(300)
    assert reason_of(sim, FIRST) == Reason.PORT_DISABLED
    runner.start(1)
    assert runner.pass_time(STUCK_SECONDS + 60) == 0
    assert names(sim) == [FIRST, SECOND]
    sim.remove_pods()
    runner.start(1)
    assert runner.pass_time(FAILURE_MEMORY_SECONDS) == 0
    assert FIRST in names(sim), "one of its addresses is a pod's"


@pytest.mark.parametrize("attached", [False, True])
def test_two_stuck_enis_stop_creation_and_the_pool_names_them(
    monkeypatch: pytest.MonkeyPatch, *, attached: bool
) -> None:
    runner = a_pool()
    sim = runner.sim
    refused = set[str]()
    if attached:
        sim.missing_nics = {FIRST, SECOND}
    else:
        refused = refuse_attachments(sim, monkeypatch, FIRST, SECOND)
    assert runner.pass_time(10 * STUCK_SECONDS) == 1
    assert names(sim) == [FIRST, SECOND], "the fault is not theirs"
    found = pool_condition(sim, Type.CAPACITY_AVAILABLE)
    reason = Reason.NIC_MISSING if attached else Reason.CONFLICT
    assert (found.status, found.reason) == (Status.FALSE, reason)
    assert found.message.startswith(
        f"pods wait on node n1: ENIs {FIRST} and {SECOND} have made no progress towards Ready for "
        "over 10 minutes: "
    )
    assert attached or BUSY in found.message
    assert found.message.endswith(
        "; check the node and its server first, or run kubectl delete eni "
        f"{FIRST}: another one is created, {FIRST} goes once its pods have ended"
    )
    assert reason in reasons_of_events(sim)
    sim.api.delete(ENIS, FIRST)
    for hindered in (refused, sim.missing_nics):
        hindered.discard(FIRST)  # the next one of that name has another port
    assert runner.pass_time(120) == 0
    assert names(sim) == [eni_name("pods", "n1", 2)], "nobody needs the second any more"
    assert pool_condition(sim, Type.CAPACITY_AVAILABLE).status == Status.TRUE


def test_a_node_that_may_have_no_other_names_the_eni_and_not_the_limit() -> None:
    runner = a_pool(maxENIsPerNode=1)
    runner.sim.missing_nics = {FIRST}
    assert runner.pass_time(STUCK_SECONDS + 60) == 1
    found = pool_condition(runner.sim, Type.CAPACITY_AVAILABLE)
    assert found.reason == Reason.NIC_MISSING
    assert f"; or run kubectl delete eni {FIRST}: another one" in found.message


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("growth", ["Static", "Elastic"])
def test_one_that_nobody_needs_is_retired_with_its_port(
    growth: str, monkeypatch: pytest.MonkeyPatch, *, attached: bool
) -> None:
    runner = a_pool(growth=growth)
    sim = runner.sim
    if attached:
        sim.missing_nics = {FIRST}
    else:
        refuse_attachments(sim, monkeypatch, FIRST)
    assert runner.pass_time(STUCK_SECONDS + 60) == 0
    assert runner.pass_time(FAILURE_MEMORY_SECONDS - STUCK_SECONDS - 300) == 0
    assert names(sim) == [FIRST, SECOND]
    assert runner.pass_time(600) == 0
    assert names(sim) == [SECOND]
    assert len(sim.cloud.ports) == 1
    assert sim.cloud.calls["create port"] == 2
    assert runner.lost == []


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("create port", QuotaExceededError("Quota exceeded for resources: ['port'].")),
        ("attach port", CredentialsInvalidError("401")),
        ("attach port", ThrottledError("429", 60)),
        ("attach port", OutcomeUnknownError("Nova does not answer")),
    ],
    ids=["quota", "credentials", "throttled", "no answer"],
)
def test_what_another_eni_would_meet_too_is_no_reason_for_one_but_the_pool_says_it(
    operation: str, error: CloudError
) -> None:
    runner = a_pool()
    sim = runner.sim
    sim.cloud.fail(operation, *[Fault(error)] * 10_000)
    assert runner.pass_time(3 * STUCK_SECONDS) == 1
    assert names(sim) == [FIRST]
    found = pool_condition(sim, Type.CAPACITY_AVAILABLE)
    assert (found.status, found.reason) == (Status.FALSE, reason_of(sim, FIRST))
    assert f"pods wait on node n1: ENI {FIRST} has made no progress" in found.message
    assert found.message.endswith(f"; see {found.reason} in docs/conditions.md")
    assert "kubectl delete" not in found.message
    assert found.reason in reasons_of_events(sim)


def test_each_way_out_of_a_disabled_port_is_named_once() -> None:
    runner = a_pool(maxENIsPerNode=1)
    sim = runner.sim
    assert runner.pass_time(60) == 0
    (port,) = sim.cloud.ports.values()
    sim.cloud.ports[port.id] = replace(port, enabled=False)
    sim.settle(300)
    runner.start(1)
    assert runner.pass_time(STUCK_SECONDS + 120) == 1
    found = pool_condition(sim, Type.CAPACITY_AVAILABLE)
    assert found.reason == Reason.PORT_DISABLED
    for way_out in (f"openstack port set --enable {port.id}", f"kubectl delete eni {FIRST}"):
        assert found.message.count(way_out) == 1
    assert found.message.count("delete") == 1


def test_of_several_nodes_the_message_says_which_one_its_enis_are_on() -> None:
    stall = Obstacle(Reason.NIC_MISSING, "ENI pods-1 has made no progress")
    sim = Simulation()
    sim.add_pool()
    nodes = NodeGroups(stalled={"n2", "n1"}, first_stall=stall)
    (found,) = capacity_obstacles(sim.pool(), nodes, None, (), ())
    assert found.message == f"pods wait on nodes n1, n2; on node n1: {stall.message}"


def taint(sim: Simulation, since: str) -> None:
    added = {"key": TAINT_AGENT_NOT_READY, "effect": "NoSchedule", "timeAdded": since}
    operation = {"op": "add", "path": "/spec/taints", "value": [added]}
    sim.api.patch(NODES, "n1", operations=[operation])


def test_a_node_whose_agent_is_away_gets_no_other_until_it_is_back() -> None:
    runner = a_pool()
    sim = runner.sim
    sim.missing_nics = {FIRST}
    runner.pass_time(60)
    taint(sim, sim.now())
    assert runner.pass_time(2 * STUCK_SECONDS) == 1
    assert names(sim) == [FIRST]
    sim.api.patch(NODES, "n1", operations=[{"op": "remove", "path": "/spec/taints"}])
    assert runner.pass_time(60) == 0


def test_the_taint_of_a_new_node_says_nothing_about_its_agent() -> None:
    sim = Simulation()
    taint(sim, sim.now())
    sim.add_pool(capacity=CAPACITY)
    sim.missing_nics = {FIRST}
    runner = PodRunner(sim)
    runner.start(1)
    assert runner.settle(STUCK_SECONDS + 60, step=60) == 0
    assert sim.api.get(NODES, "n1")["spec"]["taints"]


def test_one_that_flips_has_no_other_made_for_each_time() -> None:
    runner = a_pool()
    sim = runner.sim
    for _ in range(8):
        sim.missing_nics = {FIRST}
        assert runner.pass_time(STUCK_SECONDS + 60) == 0 or len(sim.enis()) == 1
        sim.missing_nics = set()
        runner.pass_time(30)
        runner.end(1)
        runner.start(1)
        assert len(sim.enis()) <= 2
    assert sim.cloud.calls["create port"] <= 9
