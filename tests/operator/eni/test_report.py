"""The agent's report on an ENI is used if it is possible, else it is an error of that ENI."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openeni_crds.conditions import Type, find, is_true
from openeni_crds.eni import ENI, ENISpec
from openeni_crds.enipool import Datapath, Mode
from openeni_crds.meta import ObjectMeta, encode
from openeni_crds.status.eni import ENIStatus, NodeStatus, PortStatus, PortSubnet
from openeni_operator.eni.report import AgentReport, agent_report, capacity_of, held_by
from openeni_testing.controller.simulation import Simulation

NOW = "2026-01-01T00:01:00Z"


SUBNETS = (PortSubnet("s0", "10.98.0.0/22"), PortSubnet("s1", "fd98::/64"))


def an_eni(node: NodeStatus | None, *, addresses: int = 3, sixes: int | None = None) -> ENI:
    """Return an ENI that asks for three addresses; its port has so many of IPv4, and of IPv6."""
    subnets = SUBNETS[: 1 + (sixes is not None)]
    spec = ENISpec(
        pool_name="pods",
        node_name="n1",
        server_id="server",
        cloud="default",
        network_id="net",
        subnet_ids=tuple(subnet.id for subnet in subnets),
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
        subnets=subnets,
        primary=("10.98.0.2", "fd98::2")[: len(subnets)],
        addresses=(
            *(f"10.98.1.{n}" for n in range(addresses)),
            *(f"fd98::1:{n}" for n in range(sixes or 0)),
        ),
    )
    return ENI(ObjectMeta(name="e"), spec, ENIStatus(port=port, node=node))


def test_a_possible_report_is_used() -> None:
    node = NodeStatus(granted=1, cooling=1, available=1)
    assert agent_report(an_eni(node), NOW) == AgentReport(1, 1, 1)
    idle = NodeStatus(available=3, idle_since="2026-01-01T00:00:00Z")
    assert agent_report(an_eni(idle), NOW) == AgentReport(0, 0, 3, idle_seconds=60.0)


def test_one_of_before_an_eni_that_is_deleted_lost_addresses_is_possible() -> None:
    """Its pods take them along, one by one, and it gets no others."""
    before = an_eni(NodeStatus(granted=3), addresses=1)
    going = replace(before, metadata=ObjectMeta(name="e", deletion_timestamp=NOW))
    assert agent_report(going, NOW) == AgentReport(granted=3)
    assert (held_by(before), held_by(going)) == (3, 1)


def test_a_missing_report_is_no_error() -> None:
    assert agent_report(an_eni(None), NOW) == AgentReport()


def test_an_agents_clock_may_be_ahead() -> None:
    ahead = NodeStatus(available=3, idle_since="2026-01-01T00:02:00Z")
    assert agent_report(an_eni(ahead), NOW).idle_seconds == 0


def test_pods_may_hold_addresses_that_the_port_has_lost() -> None:
    assert not agent_report(an_eni(NodeStatus(granted=3), addresses=1), NOW).error


def test_a_dual_stack_pod_has_two_addresses() -> None:
    eni = an_eni(NodeStatus(granted=2, available=1), sixes=3)
    assert capacity_of(eni) == 3
    assert not agent_report(eni, NOW).error


@pytest.mark.parametrize(("fours", "sixes"), [(3, 1), (1, 3), (2, 1)])
def test_of_two_families_the_scarcer_one_counts(fours: int, sixes: int) -> None:
    """Somebody may have taken addresses of one family off the port."""
    assert capacity_of(an_eni(None, addresses=fours, sixes=sixes)) == 1


@pytest.mark.parametrize("sixes", [0, 2])
def test_addresses_of_a_family_that_the_eni_has_no_subnet_of_serve_no_pod(sixes: int) -> None:
    eni = an_eni(None, addresses=0, sixes=sixes)
    assert eni.status.port is not None
    of_ipv6 = replace(eni.status.port, subnets=SUBNETS[1:])
    assert capacity_of(ENI(eni.metadata, eni.spec, ENIStatus(port=of_ipv6))) == sixes


def test_an_eni_is_idle_no_longer_than_it_exists() -> None:
    """An agent must not have fresh ENIs reclaimed, one after the other."""
    eni = an_eni(NodeStatus(available=3, idle_since="0001-01-01T00:00:00Z"))
    meta = ObjectMeta(name="e", creation_timestamp="2026-01-01T00:00:50Z")
    assert agent_report(ENI(meta, eni.spec, eni.status), NOW).idle_seconds == 10


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
def test_an_impossible_report_counts_nothing_and_is_described(node: NodeStatus, words: str) -> None:
    found = agent_report(an_eni(node), NOW)
    assert words in found.error
    assert len(found.error) < 200
    assert (found.granted, found.cooling, found.available, found.idle_seconds) == (0, 0, 0, None)


@given(st.text(max_size=40))
def test_any_text_is_accepted_as_a_time(text: str) -> None:
    agent_report(an_eni(NodeStatus(idle_since=text)), NOW)


def test_an_impossible_report_affects_only_its_own_eni() -> None:
    """One compromised agent must not stop a pool for the whole cluster."""
    sim = Simulation(nodes=3)
    sim.add_pool()
    sim.settle(60)
    bad = next(e for e in sim.enis() if e.spec.node_name == "n2")
    sim.agents.discard("n2")
    linked = [encode(c) for c in bad.status.conditions if c.type in ("GuestPrepared", "LinkReady")]
    for node in (
        {"granted": 31},
        {"granted": 2, "cooling": 1, "available": 1},
        {"idleSince": "2026-13-01T00:00:00Z"},
    ):
        sim.report(bad.name, linked, **node)
        sim.settle(400)
        ready = find(sim.eni(bad.name).status.conditions, Type.READY)
        assert ready is not None
        assert (ready.status, ready.reason) == ("False", "AgentReportInvalid")
        assert "see the log of the agent of node n2" in ready.message
        assert len(sim.ready()) == 2
        assert len(sim.enis()) == 3
        assert sim.pool().status.address_counts.total == 9
        assert is_true(sim.pool().status.conditions, Type.READY)
    sim.agents.add("n2")
    sim.settle(400)
    assert len(sim.ready()) == 3
