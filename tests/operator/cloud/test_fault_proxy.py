"""The proxy that disturbs calls of real services, in front of the fake ones."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import pytest
import yaml

from openeni_operator.cloud.api import NewPort
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    OutcomeUnknownError,
    QuotaExceededError,
    ThrottledError,
)
from openeni_operator.cloud.openstack import OpenStackCloud, connect
from openeni_testing.cloud.fault_proxy import PREFIXES, FaultProxy
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.cloud.grounds import unlimited
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import (
    Effect,
    EmptyList,
    ErrorAfter,
    ErrorBefore,
    NoAnswer,
    Silence,
    Slow,
)
from openeni_testing.fake_openstack.resources import ServerRecord, SubnetRecord
from openeni_testing.fake_openstack.responses import over_quota, proxy_page, throttled
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow

TIMEOUT: Final = 1.0  # seconds that the client waits


def in_front_of(fake: FakeOpenStack, clock: FakeClock) -> FaultProxy:
    """Return a proxy whose services are all at the fake's one port, each with its prefix."""
    services, prefixes = dict.fromkeys(PREFIXES, fake.url), dict.fromkeys(PREFIXES, "")
    return FaultProxy(services, clock=clock, sleep=clock.advance, prefixes=prefixes)


@dataclass
class Proxied:
    """The operator's client, the proxy that it calls, and the services behind that."""

    cloud: OpenStackCloud
    proxy: FaultProxy
    services: FakeOpenStack
    subnet: SubnetRecord

    def create_port(self) -> str:
        wanted = NewPort("eni", self.subnet.network_id, (self.subnet.id,), 2, (), ("a=b",))
        return self.cloud.create_port(wanted).id

    def names(self) -> list[str]:
        return [port.name for port in self.services.state.ports.all()]


@pytest.fixture
def proxied(
    fake: FakeOpenStack, clock: FakeClock, subnet: SubnetRecord, tmp_path: Path
) -> Iterator[Proxied]:
    with in_front_of(fake, clock) as proxy:
        entry = fake.clouds_entry()
        entry["auth"]["auth_url"] = f"{proxy.url('identity')}/identity/v3"
        entry["network_endpoint_override"] = f"{proxy.url('network')}/networking"
        entry["compute_endpoint_override"] = f"{proxy.url('compute')}/compute/v2.1"
        file = tmp_path / "clouds.yaml"
        file.write_text(yaml.safe_dump({"clouds": {"default": entry}}))
        cloud = connect(file, "default", unlimited("default"), TIMEOUT)
        yield Proxied(cloud, proxy, fake, subnet)


def test_undisturbed_calls_have_the_same_names_and_results_on_both_sides(
    proxied: Proxied, server: ServerRecord
) -> None:
    cloud = proxied.cloud
    port_id = proxied.create_port()
    cloud.tag_port(port_id, "c=d/e")
    cloud.attach(server.id, port_id)
    assert cloud.port(port_id).device_id == server.id
    assert cloud.port(port_id).tags == {"a=b", "c=d/e"}
    assert cloud.ports_named("eni") == cloud.ports_on(proxied.subnet.network_id)
    assert cloud.ports_tagged("c=d/e") == cloud.ports_named("eni")
    cloud.detach(server.id, port_id)
    cloud.delete_port(port_id)
    assert cloud.server_exists(server.id)
    assert not cloud.server_exists("no-such-server")
    assert proxied.proxy.audit.operations == proxied.services.audit.operations
    assert [c.status for c in proxied.proxy.audit.calls] == [
        c.status for c in proxied.services.audit.calls
    ]


@pytest.mark.parametrize(
    ("effect", "error", "done"),
    [
        (ErrorBefore(over_quota()), QuotaExceededError, False),
        (ErrorBefore(throttled(3)), ThrottledError, False),
        (ErrorBefore(proxy_page(502)), OutcomeUnknownError, False),
        (ErrorAfter(proxy_page(504)), OutcomeUnknownError, True),
        (NoAnswer(), OutcomeUnknownError, True),
        (NoAnswer(worked=False), OutcomeUnknownError, False),
        (Silence(), OutcomeUnknownError, True),
        (Silence(worked=False), OutcomeUnknownError, False),
    ],
    ids=["refused", "throttled", "502", "504, done", "lost", "not sent", "silent, done", "silent"],
)
def test_a_fault_is_the_clients_error_and_the_work_is_done_or_not(
    proxied: Proxied, effect: Effect, error: type[CloudError], done: bool
) -> None:
    proxied.proxy.faults.add("create port", effect)
    with pytest.raises(error):
        proxied.create_port()
    assert proxied.names() == ["eni"] * done
    assert proxied.proxy.audit.counts["create port"] == 1


def test_work_can_be_done_late_and_answers_can_be_slow_and_empty(
    proxied: Proxied, clock: FakeClock
) -> None:
    proxied.proxy.faults.add("create port", NoAnswer(late=30))
    before = clock.now
    with pytest.raises(OutcomeUnknownError):
        proxied.create_port()
    wait_for(lambda: proxied.names() == ["eni"], "the work is done")
    assert clock.now == before + 30
    proxied.proxy.faults.add("find port", EmptyList())
    assert proxied.cloud.ports_named("eni") == ()
    proxied.proxy.faults.add("find port", Slow(5))
    assert len(proxied.cloud.ports_named("eni")) == 1
    assert clock.now == before + 35


def test_a_service_that_is_away_is_a_bad_gateway(tmp_path: Path, clock: FakeClock) -> None:
    services = dict.fromkeys(PREFIXES, "http://127.0.0.1:9")  # the discard port: nobody listens
    with FaultProxy(services, clock=clock, sleep=clock.advance) as proxy:
        file = tmp_path / "clouds.yaml"
        auth = {"auth_url": f"{proxy.url('identity')}/v3", "username": "u", "password": "p"}
        file.write_text(yaml.safe_dump({"clouds": {"default": {"auth": auth}}}))
        with pytest.raises(CloudUnreachableError):
            connect(file, "default", unlimited("default"), TIMEOUT)


def test_it_ends_while_a_client_still_waits(fake: FakeOpenStack, clock: FakeClock) -> None:
    """Nothing is left of it: no thread, no connection."""
    before = set(threading.enumerate())
    with in_front_of(fake, clock) as proxy:
        proxy.faults.add("", Silence(worked=False))
        client = threading.Thread(target=_ask, args=(proxy.url("network"),))
        client.start()
        wait_for(lambda: proxy.audit.calls or proxy.faults.rules[0].matched, "it is asked")
    client.join(10)
    assert set(threading.enumerate()) - before == set()


def _ask(url: str) -> None:
    with suppress(OSError, HTTPException):
        urlopen(f"{url}/networking/v2.0/ports", timeout=60)  # noqa: S310 its scheme is http
