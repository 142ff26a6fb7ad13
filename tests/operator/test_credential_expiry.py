"""Pools warn thirty days before the cloud's credential expires, and are silent where it hides."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_crds.conditions import Condition, Reason, Status, Type, find
from openeni_operator.cloud.errors import CloudUnreachableError
from openeni_operator.cloud.openstack import connect
from openeni_operator.credential_expiry import ASK_SECONDS, judge
from openeni_testing.cloud.faults import Fault
from openeni_testing.cloud.grounds import connect_to_fake, unlimited
from openeni_testing.controller.simulation import Simulation
from openeni_testing.fake_openstack.cloud import FakeOpenStack

IN_MARCH = "2026-03-01T00:00:00Z"  # the simulation begins on January 1st
SOON = "2026-01-20T12:00:00Z"


@pytest.fixture
def sim() -> Simulation:
    made = Simulation()
    made.add_pool()
    return made


def warned(sim: Simulation) -> Condition | None:
    return find(sim.pool().status.conditions, Type.CREDENTIALS_CURRENT)


def test_a_credential_that_expires_soon_is_a_condition_and_an_event(sim: Simulation) -> None:
    sim.cloud.expires = SOON
    sim.settle()
    found = warned(sim)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, Reason.CREDENTIALS_EXPIRING)
    assert SOON in found.message
    events = [e for e in sim.process.recorded.events if e.reason == Reason.CREDENTIALS_EXPIRING]
    assert len(events) == 1
    assert len(sim.ready()) == 1  # it goes on as long as it can


def test_the_warning_ends_with_the_new_credential(sim: Simulation) -> None:
    sim.cloud.expires = SOON
    sim.settle()
    sim.cloud.expires = ""
    sim.settle(ASK_SECONDS + 600)
    found = warned(sim)
    assert found is not None
    assert (found.status, found.reason) == (Status.TRUE, Reason.CURRENT)


@pytest.mark.parametrize("expires", ["", IN_MARCH])
def test_a_credential_that_lasts_is_current(sim: Simulation, expires: str) -> None:
    sim.cloud.expires = expires
    sim.settle()
    found = warned(sim)
    assert found is not None
    assert (found.status, found.message) == (Status.TRUE, "")


def test_where_the_cloud_does_not_tell_there_is_no_condition(sim: Simulation) -> None:
    sim.cloud.expires = None
    sim.settle()
    assert warned(sim) is None


def test_keystone_is_asked_once_an_hour(sim: Simulation) -> None:
    sim.settle(10 * ASK_SECONDS)
    assert 10 <= sim.cloud.calls["get credential"] <= 11


def test_while_the_cloud_does_not_respond_the_condition_stays(sim: Simulation) -> None:
    sim.cloud.expires = SOON
    sim.settle()
    before = warned(sim)
    sim.restart()
    sim.cloud.fail("get credential", *[Fault(CloudUnreachableError("no answer"))] * 3)
    sim.settle(60)
    assert warned(sim) == before


@pytest.mark.parametrize(
    ("now", "status"),
    [
        ("2026-01-29T23:59:59Z", Status.TRUE),
        ("2026-01-30T00:00:01Z", Status.FALSE),
        ("2026-03-02T00:00:00Z", Status.FALSE),
    ],
)
def test_thirty_days_are_the_limit(now: str, status: Status) -> None:
    assert judge("default", IN_MARCH, now).status == status


@pytest.fixture
def fake() -> Iterator[FakeOpenStack]:
    with FakeOpenStack() as cloud:
        yield cloud


def test_keystones_time_becomes_one_of_kubernetes(fake: FakeOpenStack, tmp_path: Path) -> None:
    fake.project.expires_at = "2026-03-01T00:00:00.000000"
    cloud = connect_to_fake(fake, tmp_path / "clouds.yaml")
    assert cloud.credential_expiry() == IN_MARCH
    fake.project.expires_at = None
    assert cloud.credential_expiry() == ""


def test_a_credential_that_may_not_read_itself_is_used_all_the_same(
    fake: FakeOpenStack, tmp_path: Path
) -> None:
    """Those that were made before have no such access rule; nothing pauses for that."""
    fake.project.shows_credential = False
    cloud = connect_to_fake(fake, tmp_path / "clouds.yaml")
    for _ in range(5):
        assert cloud.credential_expiry() is None
        assert cloud.port_quota().used == 0


def test_a_password_does_not_expire_and_nothing_is_asked(
    fake: FakeOpenStack, tmp_path: Path
) -> None:
    file = tmp_path / "clouds.yaml"
    fake.write_clouds_yaml(file, password=True)
    assert connect(file, "default", unlimited("default"), 20).credential_expiry() == ""
    assert fake.audit.counts["get credential"] == 0


def test_a_new_connection_is_asked_again(sim: Simulation) -> None:
    sim.settle(60)
    asked = sim.cloud.calls["get credential"]
    first = sim.cloud
    sim.cloud = replace(first)
    sim.restart()
    sim.settle(60)
    assert sim.cloud.calls["get credential"] == asked + 1
