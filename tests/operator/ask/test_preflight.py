"""Each way in which a cloud or a node is not fit is found, and what is fit passes."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason
from openeni_crds.names import ENIPOOLS, NODES
from openeni_crds.reasons import REASONS
from openeni_kube.answers import FAILED, PASSED, UNKNOWN, WARNED
from openeni_operator.ask.checks import EXTENSIONS
from openeni_operator.cloud import errors
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.asked import ask_preflight, checks, simulate_fit_cloud
from openeni_testing.controller.simulation import Simulation


@pytest.fixture
def sim() -> Simulation:
    return simulate_fit_cloud()


def set_spec(sim: Simulation, name: str, value: object) -> None:
    change = [{"op": "add", "path": f"/spec/{name}", "value": value}]
    sim.api.patch(ENIPOOLS, "pods", operations=change)


def test_a_fit_cloud_passes_every_check_in_their_order(sim: Simulation) -> None:
    answer = ask_preflight(sim)
    assert {check.verdict for check in answer.checks} == {PASSED}, answer
    assert [check.name for check in answer.checks] == [
        "credentials",
        "expiry",
        "extensions",
        "quota",
        "names",
        "mtu",
        "port security",
        "addresses",
        "growth",
        "nodes",
    ]


def dhcp(sim: Simulation) -> None:
    sim.cloud.subnets[sim.subnet.id] = replace(sim.subnet, dhcp=True)


def slaac(sim: Simulation) -> None:
    sim.cloud.add_subnet(sim.network, "other", "fd00:97::/64", ipv6_mode="slaac")


def no_port_security(sim: Simulation) -> None:
    network = sim.cloud.networks[sim.network.id]
    sim.cloud.networks[network.id] = replace(network, port_security=False)


def no_group(sim: Simulation) -> None:
    sim.cloud.groups.clear()


def large_mtu(sim: Simulation) -> None:
    set_spec(sim, "datapath", {"mode": "Veth", "mtu": 9000})


def no_quota(sim: Simulation) -> None:
    sim.cloud.quota = 1


def no_server(sim: Simulation) -> None:
    sim.cloud.servers.pop()


def lost_login(sim: Simulation) -> None:
    sim.cloud.down = errors.CredentialsInvalidError("Keystone rejects the credentials")


UNFIT: list[tuple[Callable[[Simulation], None], str, Reason, str]] = [
    (dhcp, "names", Reason.DHCP_ENABLED, "DHCP enabled"),
    (slaac, "names", Reason.SLAAC_ENABLED, "uses SLAAC"),
    (no_group, "names", Reason.NOT_FOUND, "spec.securityGroups[0]"),
    (large_mtu, "names", Reason.INVALID_SPEC, "spec.datapath.mtu: 9000"),
    (no_port_security, "port security", Reason.INVALID_SPEC, "spec.securityGroups"),
    (no_quota, "quota", Reason.QUOTA_EXCEEDED, "1 of 1 ports are left"),
    (no_server, "nodes", Reason.SERVER_NOT_FOUND, "spec.providerID"),
    (lost_login, "credentials", Reason.CREDENTIALS_INVALID, "Keystone rejects"),
]


@pytest.mark.parametrize(("break_it", "name", "reason", "says"), UNFIT)
def test_what_is_not_fit_has_its_reason_and_remedy(
    sim: Simulation, break_it: Callable[[Simulation], None], name: str, reason: Reason, says: str
) -> None:
    break_it(sim)
    (failed,) = (check for check in ask_preflight(sim).checks if check.verdict != PASSED)
    assert (failed.name, failed.verdict, failed.reason) == (name, FAILED, reason)
    assert says in failed.message
    assert failed.remedy == REASONS[reason].plain_remedy or reason is Reason.INVALID_SPEC
    assert failed.remedy


@pytest.mark.parametrize("alias", EXTENSIONS)
def test_each_extension_that_is_missing_is_named(sim: Simulation, alias: str) -> None:
    sim.cloud.lacks.add(alias)
    (check,) = checks(ask_preflight(sim), "extensions")
    assert check.verdict == (WARNED if EXTENSIONS[alias] else FAILED)
    assert f"without {alias} " in check.message
    assert alias in check.remedy


def test_a_credential_that_expires_soon_is_a_warning_and_one_that_is_hidden_no_check(
    sim: Simulation,
) -> None:
    sim.cloud.expires = "2026-01-20T00:00:00Z"
    (check,) = checks(ask_preflight(sim), "expiry")
    assert (check.verdict, check.reason) == (WARNED, Reason.CREDENTIALS_EXPIRING)
    sim.cloud.expires = None
    assert checks(ask_preflight(sim), "expiry") == []


def test_a_network_that_does_not_say_whether_port_security_is_on_is_a_warning(
    sim: Simulation,
) -> None:
    sim.cloud.networks[sim.network.id] = sim.network
    (check,) = checks(ask_preflight(sim), "port security")
    assert check.verdict == WARNED


def test_a_quota_for_the_nodes_but_not_for_the_limits_is_a_warning(sim: Simulation) -> None:
    sim.cloud.quota = 3
    (check,) = checks(ask_preflight(sim), "quota")
    assert check.verdict == WARNED
    assert "need 2, and all pools at their limits 8" in check.message
    set_spec(sim, "limits", {"maxENIs": 3})
    (check,) = checks(ask_preflight(sim), "quota")
    assert check.verdict == PASSED


def test_a_quota_that_may_not_be_read_is_not_known(sim: Simulation) -> None:
    sim.cloud.fail("get quota", Fault(errors.DeniedError("not for you")))
    (check,) = checks(ask_preflight(sim), "quota")
    assert (check.verdict, check.reason) == (UNKNOWN, Reason.DENIED)


def test_enis_that_are_there_need_nothing_more(sim: Simulation) -> None:
    sim.settle()
    sim.cloud.quota = len(sim.cloud.ports)
    (check,) = checks(ask_preflight(sim), "quota")
    assert check.verdict == WARNED
    assert "nodes without an ENI need 0" in check.message


def test_a_network_of_another_project_is_static(sim: Simulation) -> None:
    network = sim.cloud.networks[sim.network.id]
    sim.cloud.networks[network.id] = replace(network, project_id="another")
    set_spec(sim, "capacity", {"growth": "Auto"})
    (check,) = checks(ask_preflight(sim), "growth")
    assert (check.verdict, "Static" in check.message) == (PASSED, True)
    set_spec(sim, "capacity", {"growth": "Elastic"})
    (check,) = checks(ask_preflight(sim), "growth")
    assert (check.verdict, check.reason) == (WARNED, Reason.ELASTIC_UNSUPPORTED)


def test_a_node_that_is_no_server_is_a_warning(sim: Simulation) -> None:
    change = [{"op": "replace", "path": "/spec/providerID", "value": "kind://x"}]
    sim.api.patch(NODES, "n2", operations=change)
    (check,) = checks(ask_preflight(sim), "nodes")
    assert (check.about, check.verdict) == ("n2", WARNED)
    assert "'kind://x'" in check.message


def test_addresses_of_pods_that_a_cloud_controller_gave_to_the_node_are_named(
    sim: Simulation,
) -> None:
    """As cloud-provider-openstack does without internal-network-name."""
    sim.settle()
    eni = sim.enis()[0]
    assert eni.status.port is not None
    address = eni.status.port.addresses[0]
    added = [{"type": "InternalIP", "address": address}]
    change = [{"op": "add", "path": "/status/addresses", "value": added}]
    sim.api.patch(NODES, eni.spec.node_name, operations=change, subresource="status")
    (check,) = checks(ask_preflight(sim), "nodes")
    assert (check.about, check.verdict) == (eni.spec.node_name, FAILED)
    assert address in check.message
    assert "internal-network-name" in check.remedy


def test_without_a_pool_the_credentials_are_checked_all_the_same() -> None:
    answer = ask_preflight(Simulation())
    assert [(c.name, c.verdict) for c in answer.checks] == [
        ("credentials", PASSED),
        ("expiry", PASSED),
        ("extensions", PASSED),
        ("quota", PASSED),
        ("pools", WARNED),
        ("nodes", PASSED),
    ]
