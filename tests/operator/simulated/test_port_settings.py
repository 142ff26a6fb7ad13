"""Tags and a QoS policy of the pool are on its ports; those of others stay as they are."""

from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason, Status, Type, is_true
from openeni_crds.names import ENIPOOLS
from openeni_operator.cloud.errors import CloudError, DeniedError, QoSUnsupportedError
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.checks import (
    TWO_RESYNCS,
    change_spec,
    pool_condition,
    simulate_ready_pool,
)
from openeni_testing.controller.port_settings import (
    OTHERS,
    assert_up_to_date,
    change_ports,
    disable_port_security,
    policies,
    policy_named,
    pools_tags,
    rename,
    simulate,
    simulate_secured_pool,
    tag_ports,
)
from openeni_testing.controller.simulation import Simulation


def test_a_port_is_created_with_its_tags_and_its_policy_in_one_call() -> None:
    sim = simulate("a=1", "b", policy="gold")
    assert pools_tags(sim) == [{"a=1", "b"}] * 2
    assert policies(sim) == ["gold"] * 2
    calls = sim.cloud.calls
    assert (calls["create port"], calls["tag port"], calls["set QoS policy"]) == (2, 0, 0)
    assert_up_to_date(sim)


def test_a_change_costs_one_call_for_each_tag_and_one_for_the_policy() -> None:
    sim = simulate("a=1", "b", policy="gold")
    tag_ports(sim, OTHERS)
    before = {eni.metadata.uid for eni in sim.enis()}
    change_spec(sim, ports={"tags": ["b", "c", "d"], "qosPolicy": {"name": "lead"}})
    sim.settle(60)
    assert pools_tags(sim) == [{"b", "c", "d", OTHERS}] * 2
    assert policies(sim) == ["lead"] * 2
    calls = sim.cloud.calls
    assert (calls["tag port"], calls["untag port"], calls["set QoS policy"]) == (4, 2, 2)
    assert {eni.metadata.uid for eni in sim.enis()} == before
    assert_up_to_date(sim)


def test_without_settings_ports_lose_those_of_the_pool_and_no_other() -> None:
    sim = simulate("a=1", policy="gold")
    tag_ports(sim, OTHERS)
    port = max(sim.cloud.ports)
    lead = policy_named(sim, "lead").id
    sim.cloud.ports[port] = replace(sim.cloud.ports[port], qos_policy_id=lead)
    change_spec(sim, ports={})
    sim.settle(TWO_RESYNCS)
    assert pools_tags(sim) == [{OTHERS}] * 2
    assert sorted(policies(sim)) == ["", "lead"]
    assert all(eni.status.applied is None for eni in sim.enis())
    assert_up_to_date(sim)


def test_a_pool_without_settings_touches_nobodys() -> None:
    sim = simulate_ready_pool()
    tag_ports(sim, OTHERS)
    change_ports(sim, qos_policy_id=sim.cloud.add_policy("theirs").id)
    sim.settle(TWO_RESYNCS)
    assert (pools_tags(sim), policies(sim)) == ([{OTHERS}] * 2, ["theirs"] * 2)
    assert_up_to_date(sim)


def test_what_somebody_changes_on_a_port_is_put_right() -> None:
    sim = simulate("a=1", policy="gold")
    change_ports(sim, tags=frozenset({OTHERS}), qos_policy_id="")
    sim.settle(TWO_RESYNCS)
    assert pools_tags(sim) == [{"a=1", OTHERS}] * 2
    assert policies(sim) == ["gold"] * 2
    assert_up_to_date(sim)


def test_port_security_that_somebody_switches_off_comes_back_with_the_groups_in_one_call() -> None:
    sim = simulate_secured_pool()
    groups = [port.security_group_ids for port in sim.cloud.ports.values()]
    disable_port_security(sim)
    sim.settle(TWO_RESYNCS)
    assert [port.security_group_ids for port in sim.cloud.ports.values()] == groups
    assert all(port.port_security for port in sim.cloud.ports.values())
    assert sim.cloud.calls["set security groups"] == 2
    assert_up_to_date(sim)


def test_port_security_that_the_operator_may_not_switch_is_reported_until_the_owner_does() -> None:
    sim = simulate_secured_pool()
    disable_port_security(sim)
    sim.cloud.fail("set security groups", *[Fault(DeniedError("not allowed"))] * 1000)
    sim.settle(TWO_RESYNCS)
    found = pool_condition(sim, Type.UP_TO_DATE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.DENIED)
    port = next(port for port in sim.cloud.ports if port in found.message)
    assert f"changed on port {port}: security groups, port security: not allowed; " in found.message
    (group,) = sim.enis()[0].spec.security_group_ids
    command = f"openstack port set --enable-port-security --security-group {group} {port}"
    assert found.message.endswith(f"have the network's owner or an admin run {command}")
    assert len(sim.ready()) == 2
    sim.cloud.faults.clear()
    sim.cloud.calls.clear()
    change_ports(sim, port_security=True)
    sim.settle(TWO_RESYNCS)
    assert all(port.security_group_ids for port in sim.cloud.ports.values())
    assert_up_to_date(sim)


def test_a_pool_without_groups_leaves_port_security_to_the_network() -> None:
    """It may have been off when the port was made: then without groups nothing would pass."""
    sim = simulate_secured_pool(securityGroups=[])
    disable_port_security(sim)
    sim.settle(TWO_RESYNCS)
    assert not any(port.port_security for port in sim.cloud.ports.values())
    assert sim.cloud.calls["set security groups"] == 0
    assert_up_to_date(sim)


def test_a_cloud_that_drops_tags_at_creation_gets_them_one_by_one() -> None:
    sim = Simulation(nodes=1)
    sim.cloud.drops_tags = True
    sim.add_pool(ports={"tags": ["a", "b"]})
    sim.settle(100)
    assert pools_tags(sim) == [{"a", "b"}]
    assert sim.cloud.calls["tag port"] == 4
    assert_up_to_date(sim)


@pytest.mark.parametrize("operation", ["tag port", "untag port", "set QoS policy"])
def test_ports_that_cannot_be_changed_are_counted_and_serve_pods_all_the_same(
    operation: str,
) -> None:
    sim = simulate("a=1", policy="gold")
    sim.cloud.fail(operation, *[Fault(DeniedError("not allowed"))] * 1000)
    change_spec(sim, ports={"tags": ["b"], "qosPolicy": {"name": "lead"}})
    sim.settle(100)
    found = pool_condition(sim, Type.UP_TO_DATE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.DENIED)
    assert found.message.startswith("2 of 2 ports do not yet have what")
    assert found.message.endswith(": not allowed")
    assert len(sim.ready()) == 2
    sim.cloud.faults.clear()
    sim.settle(TWO_RESYNCS)
    assert (pools_tags(sim), policies(sim)) == ([{"b"}] * 2, ["lead"] * 2)
    assert_up_to_date(sim)


def test_a_setting_that_the_cloud_refuses_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim = simulate("x", policy="gold", nodes=1)
    tag = sim.cloud.tag_port

    def refuse(_: str, tag_: str) -> None:
        raise DeniedError(f"no {tag_}")

    def tag_but_a(port: str, wanted: str) -> None:
        (refuse if wanted == "a" else tag)(port, wanted)

    monkeypatch.setattr(sim.cloud, "untag_port", refuse)
    monkeypatch.setattr(sim.cloud, "tag_port", tag_but_a)
    change_spec(sim, ports={"tags": ["a", "b", "c"], "qosPolicy": {"name": "lead"}})
    sim.settle(400)
    assert (pools_tags(sim), policies(sim)) == ([{"b", "c", "x"}], ["lead"])
    assert "changed on port port-0007: tags: no " in pool_condition(sim, Type.UP_TO_DATE).message
    monkeypatch.undo()
    sim.settle(TWO_RESYNCS)
    assert pools_tags(sim) == [{"a", "b", "c"}]
    assert_up_to_date(sim)


def test_a_policy_that_is_not_found_is_reported_and_not_applied() -> None:
    sim = simulate("a=1", policy="gold")
    change_spec(sim, ports={"tags": ["b"], "qosPolicy": {"name": "gould"}})
    sim.add_node("late")
    sim.agents.add("late")
    sim.settle(TWO_RESYNCS)
    found = pool_condition(sim, Type.UP_TO_DATE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.NOT_FOUND)
    assert found.message.startswith("spec.ports.qosPolicy: cloud 'default' has no QoS policy with")
    assert policies(sim) == ["gold"] * 3, "a new port gets what the others have"
    assert pools_tags(sim) == [{"b"}] * 3
    assert len(sim.ready()) == 3
    change_spec(sim, ports={"tags": ["b"], "qosPolicy": {"name": "lead"}})
    sim.settle(60)
    assert policies(sim) == ["lead"] * 3
    assert_up_to_date(sim)


def test_two_policies_of_one_name_are_reported_and_pods_start_without() -> None:
    sim = Simulation(nodes=1)
    for _ in range(2):
        sim.cloud.add_policy("gold")
    sim.add_pool(ports={"qosPolicy": {"name": "gold"}})
    sim.settle(100)
    assert pool_condition(sim, Type.UP_TO_DATE).reason == Reason.AMBIGUOUS_NAME
    assert policies(sim) == [""]
    assert len(sim.ready()) == 1


def test_a_name_that_means_another_policy_by_itself_changes_no_port() -> None:
    sim = simulate(policy="gold")
    rename(sim, "gold", "bronze")
    rename(sim, "lead", "gold")
    sim.settle(TWO_RESYNCS)
    assert policies(sim) == ["bronze"] * 2
    found = pool_condition(sim, Type.UP_TO_DATE)
    assert (found.status, found.reason) == (Status.FALSE, Reason.SELECTION_CHANGED)
    bronze = policy_named(sim, "bronze")
    assert f"no longer selects policy {bronze.id} (bronze), although" in found.message
    change_spec(sim, ports={"qosPolicy": {"id": policy_named(sim, "gold").id}})
    sim.settle(60)
    assert policies(sim) == ["gold"] * 2
    assert_up_to_date(sim)


def test_a_policy_that_is_deleted_and_made_anew_is_found_by_its_name() -> None:
    """Only a policy that no port has can be deleted."""
    sim = simulate(policy="gold", nodes=0)
    old = policy_named(sim, "gold")
    del sim.cloud.policies[old.id]
    new = sim.cloud.add_policy("gold")
    sim.settle(TWO_RESYNCS)
    applied = sim.pool().status.qos_policy
    assert applied is not None
    assert applied.id == new.id


def test_a_cloud_without_qos_serves_pods_and_says_what_it_lacks() -> None:
    sim = Simulation(nodes=1)
    sim.cloud.qos = False
    sim.add_pool(ports={"qosPolicy": {"name": "gold"}})
    sim.settle(100)
    assert len(sim.ready()) == 1
    assert is_true(sim.pool().status.conditions, Type.READY)
    for type_ in (Type.SUPPORTED, Type.UP_TO_DATE):
        found = pool_condition(sim, type_)
        assert (found.status, found.reason) == (Status.FALSE, Reason.QOS_UNSUPPORTED)


@pytest.mark.parametrize(
    "error", [QoSUnsupportedError("no such page"), DeniedError("policy does not allow get_policy")]
)
def test_a_cloud_that_does_not_show_its_policies_for_a_while_changes_no_port(
    error: CloudError,
) -> None:
    sim = simulate(policy="gold")
    sim.cloud.fail("find QoS policies", *[Fault(error)] * 100)
    sim.settle(TWO_RESYNCS)
    assert pool_condition(sim, Type.UP_TO_DATE).reason == error.reason
    unsupported = isinstance(error, QoSUnsupportedError)
    assert is_true(sim.pool().status.conditions, Type.SUPPORTED) is not unsupported
    assert is_true(sim.pool().status.conditions, Type.READY)
    rename(sim, "gold", "bronze")
    rename(sim, "lead", "gold")
    sim.cloud.faults.clear()
    sim.settle(TWO_RESYNCS)
    assert policies(sim) == ["bronze"] * 2
    assert sim.cloud.calls["set QoS policy"] == 0
    assert pool_condition(sim, Type.UP_TO_DATE).reason == Reason.SELECTION_CHANGED


def test_a_paused_pool_changes_no_setting_of_a_port() -> None:
    sim = simulate("a=1", policy="gold")
    change_spec(sim, paused=True)
    sim.settle(10)
    change_spec(sim, ports={})
    sim.settle(TWO_RESYNCS)
    assert (pools_tags(sim), policies(sim)) == ([{"a=1"}] * 2, ["gold"] * 2)
    change_spec(sim, paused=False)
    sim.settle(60)
    assert (pools_tags(sim), policies(sim)) == ([set[str]()] * 2, [""] * 2)


def test_the_ports_of_a_pool_with_settings_go_with_it() -> None:
    sim = simulate("a=1", policy="gold")
    sim.api.delete(ENIPOOLS, "pods")
    sim.settle(TWO_RESYNCS)
    assert sim.cloud.ports == {}
