"""The contract of a Cloud for a port's fixed IPs: see test_contract.py for the grounds."""

from collections.abc import Iterator

import pytest

from openeni_operator.cloud.api import FixedIP, Port
from openeni_operator.cloud.errors import (
    ResourceConflictError,
    ResourceNotFoundError,
    RevisionConflictError,
    SubnetExhaustedError,
)
from openeni_operator.eni.resize import is_answered, with_more, without
from openeni_testing.cloud.grounds import Ground, in_memory, on_fake_services, on_real_services
from openeni_testing.waiting import wait_for

INSIDE = (pytest.mark.cloud, pytest.mark.inside)
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(
    scope="module",
    params=[in_memory, on_fake_services, pytest.param(on_real_services, marks=INSIDE)],
)
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with request.param() as found:
        yield found


@pytest.fixture
def port(ground: Ground) -> Iterator[Port]:
    created = ground.cloud.create_port(ground.wanted())
    yield created
    for left in ground.cloud.ports_named(created.name):
        ground.remove(left)


def grow(ground: Ground, port: Port, count: int) -> Port:
    wanted = with_more(port, [port.fixed_ips[0].subnet_id] * count)
    grown = ground.cloud.set_fixed_ips(port.id, wanted, port.revision)
    assert is_answered(wanted, grown)
    return grown


def test_addresses_are_added_to_those_that_are_there(ground: Ground, port: Port) -> None:
    grown = grow(ground, port, 4)
    assert len(grown.fixed_ips) == len(port.fixed_ips) + 4
    assert set(grown.fixed_ips) > set(port.fixed_ips)
    assert grown.revision > port.revision
    shown = ground.cloud.port(port.id)
    assert (shown.fixed_ips, shown.revision) == (grown.fixed_ips, grown.revision)


def test_the_addresses_that_are_not_named_are_removed(ground: Ground, port: Port) -> None:
    gone = port.fixed_ips[1]
    left = ground.cloud.set_fixed_ips(port.id, without(port, [gone.address]), port.revision)
    assert set(left.fixed_ips) == set(port.fixed_ips) - {gone}
    assert ground.cloud.port(port.id).fixed_ips == left.fixed_ips


def test_an_attached_port_keeps_its_server(ground: Ground, port: Port) -> None:
    ground.cloud.attach(ground.server, port.id)
    wait_for(lambda: ground.cloud.port(port.id).device_id, "the port is attached")
    grown = grow(ground, ground.cloud.port(port.id), 1)
    assert grown.device_id == ground.server


def test_a_change_of_an_earlier_revision_is_refused(ground: Ground, port: Port) -> None:
    grown = grow(ground, port, 1)
    for stale in (with_more(port, [port.fixed_ips[0].subnet_id] * 2), port.fixed_ips[:1]):
        with pytest.raises(RevisionConflictError):
            ground.cloud.set_fixed_ips(port.id, stale, port.revision)
    shown = ground.cloud.port(port.id)
    assert (shown.fixed_ips, shown.revision) == (grown.fixed_ips, grown.revision)


def test_what_an_earlier_revision_changes_nothing_of_is_accepted(
    ground: Ground, port: Port
) -> None:
    """The address that was added is the unnamed one that is asked for: nothing is written."""
    grown = grow(ground, port, 1)
    again = with_more(port, [port.fixed_ips[0].subnet_id])
    found = ground.cloud.set_fixed_ips(port.id, again, port.revision)
    assert (found.fixed_ips, found.revision) == (grown.fixed_ips, grown.revision)


def test_an_unnamed_address_is_one_that_the_port_has(ground: Ground, port: Port) -> None:
    """So every address that stays has to be named: else Neutron chooses which ones do."""
    kept = port.fixed_ips[0]
    wanted = (kept, FixedIP(kept.subnet_id, ""))
    after = ground.cloud.set_fixed_ips(port.id, wanted, port.revision)
    assert len(after.fixed_ips) == 2
    assert set(after.fixed_ips) < set(port.fixed_ips)


def test_a_subnet_that_has_too_few_changes_nothing(ground: Ground) -> None:
    small = ground.cloud.create_port(ground.wanted("tiny", count=3))
    try:
        with pytest.raises(SubnetExhaustedError):
            grow(ground, small, 9)
        assert ground.cloud.port(small.id) == small
        grown = grow(ground, small, 1)
        assert len(grown.fixed_ips) == 4
    finally:
        ground.cloud.delete_port(small.id)


def test_an_address_that_another_port_has_given_up_is_added_by_name(
    ground: Ground, port: Port
) -> None:
    moved = port.fixed_ips[1]
    other = ground.cloud.create_port(ground.wanted())
    try:
        wanted = (*other.fixed_ips, moved)
        with pytest.raises(ResourceConflictError):
            ground.cloud.set_fixed_ips(other.id, wanted, other.revision)
        assert ground.cloud.port(other.id).fixed_ips == other.fixed_ips
        ground.cloud.set_fixed_ips(port.id, without(port, [moved.address]), port.revision)
        after = ground.cloud.set_fixed_ips(other.id, wanted, other.revision)
        assert set(after.fixed_ips) == set(wanted)
        assert is_answered(wanted, after)
    finally:
        ground.remove(ground.cloud.port(other.id))


def test_a_port_that_is_not_there_is_not_found(ground: Ground, port: Port) -> None:
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.set_fixed_ips(UNKNOWN_ID, port.fixed_ips, 1)
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.check_resizing(UNKNOWN_ID)


def test_the_question_whether_fixed_ips_may_be_changed_changes_nothing(
    ground: Ground, port: Port
) -> None:
    before = ground.cloud.port(port.id)
    ground.cloud.check_resizing(port.id)
    assert ground.cloud.port(port.id) == before
