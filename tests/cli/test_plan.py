"""`openeni plan`: what more nodes and pods take, by the operator's own planning."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_cli.plan.forecast import Demand, PlanFacts, Rates, forecast
from openeni_cli.plan.report import PlanReport
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode
from openeni_crds.names import DEPLOYMENTS
from openeni_operator.core_objects import Node
from openeni_testing.cli_cluster import HOME, CliCluster, condition
from openeni_testing.objects import pool_body, port_status

Capture = pytest.CaptureFixture[str]
NOW = "2026-11-24T10:00:00Z"
RATES = Rates(attaches=1, writes=5)


def pool(*subnets: tuple[str, int], limits: Json | None = None, **capacity: object) -> ENIPool:
    """Return a pool whose subnets have these ranges and free addresses."""
    body = pool_body("pods")
    body["spec"] |= {"capacity": capacity, "limits": limits or {}}
    status = [
        {"id": cidr, "name": cidr, "networkID": "n", "cidr": cidr, "freeCount": free}
        for cidr, free in subnets
    ]
    return decode(body | {"status": {"subnets": status}}, ENIPool)


def node(name: str, max_pods: int = 110) -> Node:
    return Node(name, {"datapath.openeni.io/veth": "true"}, "server", max_pods)


def planned(of: ENIPool, demand: Demand, *nodes: Node) -> PlanReport:
    return forecast(PlanFacts(of, {n.name: n for n in nodes}, (), RATES, NOW), demand)


def test_new_nodes_get_what_the_operator_would_give_them() -> None:
    """Each of 50 nodes has 60 pods and 2 addresses to spare: five ENIs of 15, if they may."""
    found = planned(pool(maxENIsPerNode=5), Demand(nodes=50, pods=3000))
    assert (found.nodes, found.ports, found.addresses) == (50, 250, 3750)
    assert (found.unserved_pods, found.most_nics, found.fits) == (0, 5, True)


def test_a_limit_of_a_node_that_is_too_low_is_named() -> None:
    """Four ENIs of 15 serve 60 pods of 70."""
    found = planned(pool(), Demand(pods=70), node("n1"))
    assert (found.ports, found.unserved_pods) == (4, 10)
    assert found.limits == ("spec.capacity.maxENIsPerNode",)
    assert not found.fits


@pytest.mark.parametrize(
    ("limits", "capacity", "named", "unserved"),
    [
        ({"maxENIs": 1}, {}, "spec.limits.maxENIs", 15),
        ({"maxAddresses": 20}, {}, "spec.limits.maxAddresses", 10),
        ({}, {"maxAddressesPerNode": 12}, "spec.capacity.maxAddressesPerNode", 18),
    ],
)
def test_each_limit_of_a_pool_is_kept_and_named(
    limits: Json, capacity: Json, named: str, unserved: int
) -> None:
    found = planned(pool(limits=limits, **capacity), Demand(pods=30), node("n1"))
    assert found.limits == (named,)
    assert found.unserved_pods == unserved


def test_a_port_takes_one_address_more_in_each_family() -> None:
    """15 addresses and a primary one, of which the subnets have just enough, or one too few."""
    enough = planned(pool(("10.98.0.0/24", 16), ("fd98::/64", 16)), Demand(pods=5), node("n1"))
    assert [(s.family, s.needed, s.free) for s in enough.subnets] == [
        ("IPv4", 16, 16),
        ("IPv6", 16, 16),
    ]
    assert enough.fits
    short = planned(pool(("10.98.0.0/24", 15), ("fd98::/64", 900)), Demand(pods=5), node("n1"))
    assert not short.fits


def test_subnets_of_a_family_are_counted_together() -> None:
    found = planned(pool(("10.98.0.0/24", 10), ("10.99.0.0/24", 6)), Demand(pods=5), node("n1"))
    assert [(s.free, s.needed) for s in found.subnets] == [(16, 16)]


@pytest.mark.parametrize(("left", "fits"), [(None, True), (1, True), (0, False)])
def test_the_quota_is_compared_where_it_was_said(left: int | None, fits: bool) -> None:
    found = planned(pool(), Demand(pods=5, ports_left=left), node("n1"))
    assert (found.ports, found.fits) == (1, fits)


def test_nodes_that_are_full_take_no_more_pods() -> None:
    found = planned(pool(), Demand(pods=25), node("n1", max_pods=10), node("n2", max_pods=8))
    assert found.unplaced_pods == 7
    assert not found.fits


def test_cordoned_nodes_and_nodes_without_the_datapath_take_no_pods() -> None:
    cordoned = replace(node("n1"), cordoned=True)
    without = replace(node("n2"), labels={"datapath.openeni.io/veth": "false"})
    assert planned(pool(), Demand(pods=5), cordoned, without).unplaced_pods == 5


def test_the_slower_of_the_operators_rates_decides_how_long_it_takes() -> None:
    """100 attaches, one in a second, take longer than 300 writes, five in a second."""
    of = pool(maxENIsPerNode=1)
    facts = PlanFacts(of, {}, (), RATES, NOW)
    assert forecast(facts, Demand(nodes=100)).seconds == 130
    slow = replace(facts, rates=Rates(attaches=10, writes=1))
    assert forecast(slow, Demand(nodes=100)).seconds == 330


def test_a_node_gets_its_enis_one_after_the_other() -> None:
    assert planned(pool(), Demand(pods=50), node("n1")).seconds == 4 * 30


@given(
    nodes=st.integers(0, 12),
    pods=st.integers(0, 300),
    per_eni=st.integers(1, 31),
    enis=st.integers(1, 4),
    spare=st.integers(0, 20),
    limit=st.none() | st.integers(0, 20),
)
def test_every_pod_is_served_or_counted_as_not(
    *, nodes: int, pods: int, per_eni: int, enis: int, spare: int, limit: int | None
) -> None:
    of = pool(
        limits={} if limit is None else {"maxENIs": limit},
        addressesPerENI=per_eni,
        maxENIsPerNode=enis,
        minAvailable=spare,
    )
    found = planned(of, Demand(nodes, pods), node("n1", max_pods=30))
    placed = pods - found.unplaced_pods
    assert placed - found.unserved_pods <= found.addresses
    assert found.ports <= min(enis * (nodes + 1), 10**6 if limit is None else limit)
    assert found.addresses <= found.ports * per_eni
    assert bool(found.limits) or not found.unserved_pods


def test_what_nodes_have_already_is_used_first(cluster: CliCluster, capsys: Capture) -> None:
    addresses = [f"10.98.0.{i}" for i in range(11, 26)]
    counts = {"granted": 3, "available": 12}
    linked = condition("LinkReady", "LinkUp", status="True", since=3600 - 45)
    ready = condition("Ready", "Ready", status="True")
    port = port_status("p") | {"addresses": addresses}
    cluster.eni("pods-0", ready, linked, port=port, node=counts)
    assert cluster.run("plan", "--pods", "10", "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ports"], found["secondsPerEni"], found["measured"]) == (0, 45, True)
    assert cluster.run("plan", "--pods", "11", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["ports"] == 1  # two are to be spare


def test_the_operators_own_settings_are_used(cluster: CliCluster, capsys: Capture) -> None:
    path = "/spec/template/spec/containers/0/env"
    rate = {"name": "OPENENI_CLOUD_ATTACHES_PER_SECOND", "value": "0.5"}
    change = [{"op": "add", "path": path, "value": [rate, {"name": "OPENENI_POD"}]}]
    cluster.store.patch(DEPLOYMENTS, "openeni-operator", HOME, operations=change)
    cluster.run("plan", "--nodes", "+49", "-o", "json")
    found = json.loads(capsys.readouterr().out)
    assert found["ports"] == 50  # the node that is there has none yet
    assert found["seconds"] == 50 / 0.5 + 30


def test_the_text_says_what_does_not_fit_and_what_to_do(
    cluster: CliCluster, capsys: Capture
) -> None:
    assert cluster.run("plan", "--pods", "200", "--ports-left", "1") == 1
    text = capsys.readouterr().out
    assert text.startswith("0 more nodes and 200 more pods on pool pods: DOES NOT FIT\n")
    assert "50 pods get no address because of spec.capacity.maxENIsPerNode: raise it" in text
    assert "90 pods find no node" in text
    assert "3 ports are lacking: ask for a higher port quota" in text


def test_of_several_pools_one_must_be_chosen(cluster: CliCluster, capsys: Capture) -> None:
    cluster.pool("other")
    assert cluster.run("plan", "--pods", "1") == 3
    assert "choose one by --pool: other, pods" in capsys.readouterr().err
    assert cluster.run("plan", "--pods", "1", "--pool", "other") == 0
    capsys.readouterr()
    assert cluster.run("plan", "--pods", "1", "--pool", "none") == 3
    assert "there is no ENIPool 'none'; there are: other, pods" in capsys.readouterr().err


def test_times_of_enis_that_came_and_went_again_are_not_measured(
    cluster: CliCluster, capsys: Capture
) -> None:
    again = condition("LinkReady", "LinkUp", status="True", since=60)
    cluster.eni("pods-0", condition("Ready", "Ready", status="True"), again)
    cluster.run("plan", "-o", "json")
    found = json.loads(capsys.readouterr().out)
    assert (found["measured"], found["secondsPerEni"]) == (False, 30)
