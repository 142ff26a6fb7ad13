"""The fake OpenStack's faults, latency and audit, seen through the operator and the SDK."""

import math
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from openstack import exceptions

from openeni_crds.terms import SecurityGroupTerm, SubnetTerm
from openeni_operator.cloud.errors import (
    CloudUnreachableError,
    OutcomeUnknownError,
    ThrottledError,
)
from openeni_operator.cloud.openstack import OpenStackCloud
from openeni_testing.cloud.fake_ports import names, wanted
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.cloud.grounds import connect_to_fake
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorAfter, ErrorBefore, NoAnswer, Slow
from openeni_testing.fake_openstack.resources import SubnetRecord
from openeni_testing.fake_openstack.responses import (
    proxy_page,
    throttled,
    unavailable,
)
from openeni_testing.waiting import wait_for


@pytest.mark.parametrize("answer", [throttled, unavailable])
def test_a_service_can_ask_to_be_asked_later(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord, answer: Callable[[int | None], Any]
) -> None:
    fake.faults.add("create port", ErrorBefore(answer(17)))
    fake.faults.add("create port", ErrorBefore(answer(None)), nth=2)
    for seconds in ("17", None):
        with pytest.raises(exceptions.HttpException) as raised:
            sdk.network.create_port(network_id=subnet.network_id)
        assert raised.value.response is not None
        assert raised.value.response.headers.get("Retry-After") == seconds
        assert raised.value.status_code == answer(None).status
    assert names(fake) == []
    assert fake.audit.counts["create port"] == 2


def test_the_operator_honours_retry_after(
    fake: FakeOpenStack, operators: OpenStackCloud, subnet: SubnetRecord
) -> None:
    fake.faults.add("create port", ErrorBefore(throttled(17)))
    with pytest.raises(ThrottledError) as raised:
        operators.create_port(wanted(subnet))
    assert raised.value.retry_after == 17


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxys_page_does_not_tell_whether_the_work_was_done(
    fake: FakeOpenStack, operators: OpenStackCloud, subnet: SubnetRecord, status: int
) -> None:
    fake.faults.add("create port", ErrorAfter(proxy_page(status)))
    with pytest.raises(OutcomeUnknownError) as raised:
        operators.create_port(wanted(subnet))
    assert "<html>" not in raised.value.message
    assert names(fake) == ["eni"]


@pytest.mark.parametrize("worked", [True, False])
def test_a_call_without_an_answer_is_made_once(
    fake: FakeOpenStack, operators: OpenStackCloud, subnet: SubnetRecord, worked: bool
) -> None:
    fake.faults.add("create port", NoAnswer(worked=worked))
    with pytest.raises(OutcomeUnknownError):
        operators.create_port(wanted(subnet))
    assert fake.audit.counts["create port"] == 1
    assert fake.audit.calls[-1].status == 0
    assert names(fake) == (["eni"] if worked else [])


def test_a_read_without_an_answer_is_no_evidence(
    fake: FakeOpenStack, operators: OpenStackCloud
) -> None:
    fake.faults.add("find port", NoAnswer(worked=False))
    with pytest.raises(CloudUnreachableError):
        operators.ports_named("eni")


@pytest.mark.parametrize("effect", [NoAnswer(late=30), ErrorAfter(proxy_page(504), late=30)])
def test_work_can_be_done_long_after_the_answer(
    fake: FakeOpenStack,
    operators: OpenStackCloud,
    subnet: SubnetRecord,
    clock: FakeClock,
    effect: NoAnswer | ErrorAfter,
) -> None:
    fake.faults.add("create port", effect)
    with pytest.raises(OutcomeUnknownError):
        operators.create_port(wanted(subnet))
    clock.advance(29)
    assert operators.ports_named("eni") == ()
    clock.advance(1)
    assert [port.name for port in operators.ports_named("eni")] == ["eni"]


def test_a_post_succeeds_after_the_clients_time_out(tmp_path: Path) -> None:
    """The server's pause ends only after the client has given up."""
    gave_up = threading.Event()
    with FakeOpenStack(sleep=lambda _: gave_up.wait(60)) as fake:
        subnet = fake.state.add_subnet(fake.state.add_network(), "pods", "10.98.0.0/22")
        operators = connect_to_fake(fake, tmp_path / "clouds.yaml", timeout=0.5)
        fake.faults.add("create port", Slow(1))
        with pytest.raises(OutcomeUnknownError):
            operators.create_port(wanted(subnet))
        assert names(fake) == []
        gave_up.set()
        wait_for(lambda: names(fake) == ["eni"], "the port appears")
        assert fake.audit.counts["create port"] == 1


def test_rules_choose_calls_by_number_and_by_content(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord
) -> None:
    def create(name: str) -> int:
        body = {"port": {"network_id": subnet.network_id, "name": name}}
        return int(sdk.network.post("/ports", json=body).status_code)

    fake.faults.add("create port", ErrorBefore(proxy_page(502)), nth=2, times=2)
    is_bad = ErrorBefore(proxy_page(504))
    fake.faults.add("", is_bad, times=math.inf, when=lambda request: "bad" in str(request.body))
    assert [create(name) for name in ("a", "b", "bad", "d", "bad")] == [201, 502, 502, 201, 504]
    assert names(fake) == ["a", "d"]
    fake.faults.clear()
    assert create("bad") == 201


def test_latency_is_that_of_the_operation(
    fake: FakeOpenStack, sdk: Any, subnet: SubnetRecord, clock: FakeClock
) -> None:
    sdk.authorize()
    _ = sdk.network
    fake.latency.default = 0.25
    fake.latency.of_operation["create port"] = 7
    started = clock()
    sdk.network.create_port(network_id=subnet.network_id)
    list(sdk.network.ports())
    assert clock() - started == 7.25


def test_the_audit_names_calls_as_the_operator_does(
    fake: FakeOpenStack, operators: OpenStackCloud, subnet: SubnetRecord
) -> None:
    server = fake.state.add_server().id
    port = operators.create_port(wanted(subnet)).id
    operators.find_subnets(SubnetTerm(name="pods"))
    operators.subnets_of(subnet.network_id)
    operators.find_security_groups(SecurityGroupTerm(name="default"))
    operators.network(subnet.network_id)
    operators.port_quota()
    operators.port(port)
    operators.ports_named("eni")
    operators.ports_on(subnet.network_id)
    operators.server_exists(server)
    operators.attach(server, port)
    operators.detach(server, port)
    operators.delete_port(port)
    operators.delete_port(port)
    assert fake.audit.operations == [
        "connect",
        "create port",
        "find subnets",
        "list subnets",
        "find security groups",
        "get network",
        "get quota",
        "get port",
        "find port",
        "list ports",
        "get server",
        "attach port",
        "detach port",
        "delete port",
        "delete port",
    ]
    assert fake.audit.counts["delete port"] == 2
    assert [call.status for call in fake.audit.calls[-3:]] == [202, 204, 404]
    fake.audit.clear()
    assert fake.audit.operations == []


def test_it_ends_with_open_connections_and_calls_that_wait(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with FakeOpenStack() as fake:
        operators = connect_to_fake(fake, tmp_path / "clouds.yaml")
        fake.faults.add("get quota", Slow(3600))
        failed: list[Exception] = []

        def ask() -> None:
            try:
                operators.port_quota()
            except CloudUnreachableError as error:
                failed.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(lambda: fake.audit.counts["get quota"], "the call arrives")
    asking.join(60)
    assert len(failed) == 1
    assert set(threading.enumerate()) == before


def test_a_mistake_in_a_rule_is_not_taken_for_a_fault_of_the_cloud(tmp_path: Path) -> None:
    def fail(_request: object) -> bool:
        raise LookupError("a mistake of the test")

    fake = FakeOpenStack()
    fake.faults.add("get quota", Slow(1), when=fail)
    with ExitStack() as running:
        running.enter_context(fake)
        operators = connect_to_fake(fake, tmp_path / "clouds.yaml")
        with pytest.raises(CloudUnreachableError, match="HTTP 500"):
            operators.port_quota()
        with pytest.raises(LookupError, match="a mistake"):
            running.close()


def test_a_path_that_the_fake_does_not_serve_is_not_found(fake: FakeOpenStack, sdk: Any) -> None:
    response = sdk.network.get("/routers")
    assert (response.status_code, fake.audit.operations[-1]) == (404, "unknown")


def test_timestamps_follow_the_clock(
    operators: OpenStackCloud, subnet: SubnetRecord, clock: FakeClock
) -> None:
    first = operators.create_port(wanted(subnet, "a")).created_at
    clock.advance(3600)
    assert operators.create_port(wanted(subnet, "b")).created_at > first


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Make threads take turns in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_calls_at_the_same_time_share_no_address(
    fake: FakeOpenStack, sdk: Any, eager_threads: None
) -> None:
    subnet = fake.state.add_subnet(fake.state.add_network(), "nearly full", "10.97.0.0/23")
    _ = sdk.network  # the SDK creates its proxies without a lock

    def create(number: int) -> list[str]:
        fixed_ips = [{"subnet_id": subnet.id}] * 63
        body = {"network_id": subnet.network_id, "name": str(number), "fixed_ips": fixed_ips}
        return [entry["ip_address"] for entry in sdk.network.create_port(**body).fixed_ips]

    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(create, range(8)))
    assert len({address for addresses in created for address in addresses}) == 8 * 63
    assert fake.audit.counts["create port"] == 8
    assert sorted(names(fake)) == [str(number) for number in range(8)]
