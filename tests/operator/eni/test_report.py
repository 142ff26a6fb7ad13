"""An agent's report about an ENI: used if it can be true, else named as that ENI's problem."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.conditions import Type, find, is_true
from openeni_crds.eni import ENI, ENISpec, ENIStatus, NodeStatus, PortStatus, PortSubnet
from openeni_crds.enipool import Datapath, Mode
from openeni_crds.meta import ObjectMeta, encode
from openeni_operator.eni.report import Report, capacity_of, report_of
from openeni_testing.controller.world import OperatorWorld

NOW = "2026-01-01T00:01:00Z"


def an_eni(node: NodeStatus | None, *, addresses: int = 3, families: int = 1) -> ENI:
    """An ENI that was made with three addresses and whose port has `addresses` of each family."""
    spec = ENISpec(
        pool_name="pods",
        node_name="n1",
        server_id="server",
        cloud="default",
        network_id="net",
        subnet_ids=tuple(f"s{n}" for n in range(families)),
        security_group_ids=(),
        datapath=Datapath(Mode.VETH),
        mtu=1450,
        address_count=3,
    )
    port = PortStatus(
        id="p",
        name="openeni-c-e",
        mac_address="fa:16:3e:00:00:01",
        revision=1,
        mtu=1450,
        subnets=(PortSubnet("s0", "10.98.0.0/22"),),
        primary=("10.98.0.2",),
        addresses=tuple(f"10.98.1.{n}" for n in range(addresses * families)),
    )
    return ENI(ObjectMeta(name="e"), spec, ENIStatus(port=port, node=node))


def test_a_report_that_can_be_is_used() -> None:
    node = NodeStatus(granted=1, cooling=1, available=1)
    assert report_of(an_eni(node), NOW) == Report(1, 1, 1)
    idle = NodeStatus(available=3, idle_since="2026-01-01T00:00:00Z")
    assert report_of(an_eni(idle), NOW) == Report(0, 0, 3, idle=60.0)


def test_no_report_is_no_problem() -> None:
    assert report_of(an_eni(None), NOW) == Report()


def test_a_clock_that_is_ahead_is_no_problem() -> None:
    ahead = NodeStatus(available=3, idle_since="2026-01-01T00:02:00Z")
    assert report_of(an_eni(ahead), NOW).idle == 0


def test_pods_may_still_hold_what_the_port_has_lost() -> None:
    assert not report_of(an_eni(NodeStatus(granted=3), addresses=1), NOW).problem


def test_with_two_families_a_pod_takes_two_addresses() -> None:
    eni = an_eni(NodeStatus(granted=2, available=1), families=2)
    assert capacity_of(eni) == 3
    assert not report_of(eni, NOW).problem


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (NodeStatus(granted=4), "add up to 4, but the port has 3"),
        (NodeStatus(granted=2, cooling=1, available=1), "add up to 4"),
        (NodeStatus(granted=2147483647), "add up to 2147483647"),
        (NodeStatus(granted=-1), "a count is negative"),
        (NodeStatus(granted=4, available=-1), "a count is negative"),
        (NodeStatus(idle_since="2026-01-01t00:00:00z"), "'2026-01-01t00:00:00z' is not a time"),
        (NodeStatus(idle_since="2026-01-01T00:00:00+01:00"), "is not a time such as"),
        (NodeStatus(idle_since="x" * 900), "status.node.idleSince: 'xxx"),
    ],
)
def test_a_report_that_cannot_be_counts_nothing_and_is_named(node: NodeStatus, words: str) -> None:
    found = report_of(an_eni(node), NOW)
    assert words in found.problem
    assert len(found.problem) < 200
    assert (found.granted, found.cooling, found.available, found.idle) == (0, 0, 0, None)


@given(st.text(max_size=40))
def test_no_text_for_a_time_breaks_anything(text: str) -> None:
    report_of(an_eni(NodeStatus(idle_since=text)), NOW)


def test_an_agents_report_that_cannot_be_is_that_enis_condition_and_nobody_elses() -> None:
    """One agent's token must not stop a pool for the whole cluster."""
    world = OperatorWorld(nodes=3)
    world.add_pool()
    world.settle(60)
    bad = next(e for e in world.enis() if e.spec.node_name == "n2")
    world.agents.discard("n2")
    linked = [encode(c) for c in bad.status.conditions if c.type in ("GuestPrepared", "LinkReady")]
    for node in (
        {"granted": 62},
        {"granted": 2, "cooling": 1, "available": 1},
        {"idleSince": "2026-13-01T00:00:00Z"},
    ):
        world.report(bad.name, linked, **node)
        world.settle(400)
        told = find(world.eni(bad.name).status.conditions, Type.READY)
        assert told is not None
        assert (told.status, told.reason) == ("False", "AgentReportInvalid")
        assert "see the log of the agent of node n2" in told.message
        assert len(world.ready()) == 2
        assert len(world.enis()) == 3
        assert world.pool().status.address_counts.total == 9
        assert is_true(world.pool().status.conditions, Type.READY)
    world.agents.add("n2")
    world.settle(400)
    assert len(world.ready()) == 3
