"""The access rules are the operator's calls: each call has its rule, and each rule its call."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openeni_crds.terms import QoSPolicyTerm, SecurityGroupTerm, SubnetTerm
from openeni_operator.cloud.access_rules import ACCESS_RULES, AccessRule
from openeni_operator.cloud.api import Cloud, NewPort
from openeni_operator.cloud.errors import CloudError
from openeni_testing.cloud.grounds import connect_to_fake
from openeni_testing.fake_openstack.audit import Call
from openeni_testing.fake_openstack.cloud import FakeOpenStack

SERVICES = {"networking": "network", "compute": "compute", "identity": "identity"}


def matches(rule: AccessRule, call: Call, service: str) -> bool:
    """Compare as keystonemiddleware does."""
    pattern = re.sub(r"\{\w+\}", "[^/]+", rule.path.replace("**", ".*"))
    request = call.request
    return (rule.service, rule.method) == (service, request.method) and bool(
        re.fullmatch(pattern, request.path)
    )


def service_of(call: Call) -> str:
    return SERVICES[call.request.path.split("/")[1]]


def needs_rule(call: Call) -> bool:
    """Return False for log-ins, and for documents that list an API's versions."""
    return service_of(call) != "identity" or "/users/" in call.request.path


class Everything:
    """Calls every method of the operator's client, and remembers which."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> object:
        self.called.add(name)
        return getattr(self.cloud, name)


@pytest.fixture
def fake() -> Iterator[FakeOpenStack]:
    with FakeOpenStack() as cloud:
        cloud.state.add_group("default")
        cloud.state.add_policy("pods")
        yield cloud


@pytest.fixture
def calls(fake: FakeOpenStack, tmp_path: Path) -> list[Call]:
    """Return the calls of every method of the Cloud protocol."""
    network = fake.state.add_network("pods")
    subnet = fake.state.add_subnet(network, "pods", "10.98.0.0/22")
    server = fake.state.add_server("node-1")
    recorder = Everything(connect_to_fake(fake, tmp_path / "every.yaml"))
    use(recorder, network.id, subnet.id, server.id)
    methods = {name for name, _ in inspect.getmembers(Cloud) if not name.startswith("_")}
    assert recorder.called == methods
    return [call for call in fake.audit.calls if needs_rule(call)]


def use(cloud: Any, network_id: str, subnet_id: str, server_id: str) -> None:
    assert cloud.place.project_id
    assert cloud.credential_expiry() == ""
    assert cloud.has_extension("quotas")
    (group,) = cloud.find_security_groups(SecurityGroupTerm(name="default"))
    (policy,) = cloud.find_qos_policies(QoSPolicyTerm(name="pods"))
    for term in (SubnetTerm(id=subnet_id), SubnetTerm(name="pods"), SubnetTerm(tags=("none",))):
        cloud.find_subnets(term)
    cloud.subnets_of(network_id)
    cloud.network(network_id)
    cloud.port_quota()
    port = cloud.create_port(NewPort("p", network_id, (subnet_id,), 2, (group.id,), ("a=b",)))
    cloud.ports_named("p")
    cloud.ports_on(network_id)
    cloud.ports_tagged("a=b")
    cloud.tag_port(port.id, "cost center=7 %41")
    cloud.untag_port(port.id, "cost center=7 %41")
    cloud.set_security_groups(port.id, ())
    cloud.set_qos_policy(port.id, policy.id)
    cloud.check_resizing(port.id)
    seen = cloud.port(port.id)
    cloud.set_fixed_ips(port.id, seen.fixed_ips[:1], seen.revision)
    assert cloud.server_exists(server_id)
    cloud.attach(server_id, port.id)
    cloud.detach(server_id, port.id)
    cloud.delete_port(port.id)


def test_every_call_has_exactly_one_rule(calls: list[Call]) -> None:
    for call in calls:
        found = [rule for rule in ACCESS_RULES if matches(rule, call, service_of(call))]
        assert len(found) == 1, f"{call.request.method} {call.request.path}: {found}"


def test_every_rule_has_a_call(calls: list[Call]) -> None:
    idle = [
        rule
        for rule in ACCESS_RULES
        if not any(matches(rule, call, service_of(call)) for call in calls)
    ]
    assert idle == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/identity/v3/users/1/application_credentials"),
        ("DELETE", "/identity/v3/users/1/application_credentials/1"),
        ("GET", "/networking/v2.0/networks"),
        ("DELETE", "/networking/v2.0/networks/1"),
        ("PUT", "/networking/v2.0/quotas/1"),
        ("POST", "/networking/v2.0/security-groups"),
        ("PUT", "/networking/v2.0/ports/1/tags"),
        ("GET", "/compute/v2.1/servers"),
        ("GET", "/compute/v2.1/servers/detail/more"),
        ("DELETE", "/compute/v2.1/servers/1"),
        ("POST", "/compute/v2.1/servers/1/action"),
    ],
)
def test_nothing_else_is_permitted(method: str, path: str) -> None:
    for rule in ACCESS_RULES:
        pattern = re.sub(r"\{\w+\}", "[^/]+", rule.path.replace("**", ".*"))
        assert rule.method != method or not re.fullmatch(pattern, path), rule


@pytest.mark.parametrize("path", ["/v2.0/ports", "/networking/v2.0/ports", "/a/b/v2.0/ports"])
def test_a_service_may_be_behind_a_path_of_its_own(path: str) -> None:
    patterns = [rule.path.replace("**", ".*") for rule in ACCESS_RULES if rule.method == "POST"]
    assert any(re.fullmatch(pattern, path) for pattern in patterns)


def test_errors_are_no_reason_for_other_calls(fake: FakeOpenStack, tmp_path: Path) -> None:
    """What is asked after something is missing has its rule, too."""
    server = fake.state.add_server("node-1")
    cloud = connect_to_fake(fake, tmp_path / "missing.yaml")
    for do in (
        lambda: cloud.delete_port("missing"),
        lambda: cloud.port("missing"),
        lambda: cloud.check_resizing("missing"),
        lambda: cloud.detach(server.id, "missing"),
        lambda: cloud.attach(server.id, "missing"),
        lambda: cloud.server_exists("missing"),
    ):
        try:
            do()
        except CloudError:
            continue
    for call in fake.audit.calls:
        if needs_rule(call):
            assert any(matches(rule, call, service_of(call)) for rule in ACCESS_RULES), call.request
