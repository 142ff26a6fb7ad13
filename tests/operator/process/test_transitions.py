"""Which changes of conditions an administrator hears of."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.conditions import Condition, Reason, Status, Type, condition
from openeni_crds.meta import ObjectMeta
from openeni_crds.names import ENIPOOLS, ENIS, PODIPS
from openeni_kube.event_series import EventType
from openeni_operator.process.transitions import (
    ACTIONS,
    EVENT_TYPES,
    Transition,
    events_for,
    record_transitions,
)

NORMAL, WARNING = EventType.NORMAL, EventType.WARNING
QUOTA: Final = "the port quota is used up: 10 of 10"


def bad(type_: Type, reason: Reason, message: str = QUOTA) -> Condition:
    return condition(type_, reason, message, status=False)


def good(type_: Type, reason: Reason) -> Condition:
    return condition(type_, reason, status=True)


def test_every_reason_is_decided_on() -> None:
    assert set(EVENT_TYPES) == set(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_what_is_wrong_is_a_warning_and_what_is_on_its_way_is_nothing(reason: Reason) -> None:
    found = events_for(ENIPOOLS, (), [bad(Type.SUPPORTED, reason)])
    wanted = [WARNING] if EVENT_TYPES[reason] is WARNING else []
    assert [event.type for event in found] == wanted


def test_a_reason_that_follows_on_progress_is_an_event() -> None:
    before = [bad(Type.PORT_READY, Reason.WAITING_FOR_PORT, "the port is being created")]
    after = [bad(Type.PORT_READY, Reason.QUOTA_EXCEEDED)]
    assert events_for(ENIS, before, after) == (
        Transition(WARNING, "QuotaExceeded", QUOTA, "CreatePort"),
    )


@pytest.mark.parametrize("reason", Reason)
def test_whatever_keeps_a_pool_from_its_capacity_is_an_event_and_so_is_its_end(
    reason: Reason,
) -> None:
    """There a reason of progress is one that has lasted."""
    available = [good(Type.CAPACITY_AVAILABLE, Reason.AVAILABLE)]
    lacking = [bad(Type.CAPACITY_AVAILABLE, reason)]
    (begun,) = events_for(ENIPOOLS, available, lacking)
    assert begun.type is (EVENT_TYPES[reason] or WARNING)
    (ended,) = events_for(ENIPOOLS, lacking, available)
    assert (ended.type, ended.reason) == (NORMAL, Reason.AVAILABLE)


def test_a_changed_message_is_no_event() -> None:
    before = [bad(Type.CAPACITY_AVAILABLE, Reason.NODE_LIMIT, "pods wait on node n1")]
    after = [bad(Type.CAPACITY_AVAILABLE, Reason.NODE_LIMIT, "pods wait on nodes n1, n2")]
    assert events_for(ENIPOOLS, before, after) == ()


@pytest.mark.parametrize("ready_first", [True, False])
def test_ready_and_the_condition_that_it_follows_are_one_event(*, ready_first: bool) -> None:
    after = [bad(Type.PORT_READY, Reason.QUOTA_EXCEEDED), bad(Type.READY, Reason.QUOTA_EXCEEDED)]
    found = events_for(ENIS, (), reversed(after) if ready_first else after)
    assert found == (Transition(WARNING, "QuotaExceeded", QUOTA, "CreatePort"),)


def test_a_new_pool_in_a_good_world_is_one_event() -> None:
    after = [
        good(Type.CAPACITY_AVAILABLE, Reason.AVAILABLE),
        good(Type.CLOUD_REACHABLE, Reason.REACHABLE),
        good(Type.READY, Reason.READY),
        good(Type.SUPPORTED, Reason.SUPPORTED),
    ]
    assert events_for(ENIPOOLS, (), after) == (
        Transition(NORMAL, "Ready", "the ENIPool is ready", "Reconcile"),
    )


def test_the_end_of_an_outage_is_told_and_what_was_unknown_meanwhile_is_not() -> None:
    reason = Reason.CLOUD_UNREACHABLE
    before = [
        bad(Type.CLOUD_REACHABLE, reason, "no answer"),
        condition(Type.SUPPORTED, reason, "not known yet", status=None),
    ]
    after = [
        good(Type.CLOUD_REACHABLE, Reason.REACHABLE),
        good(Type.SUPPORTED, Reason.SUPPORTED),
    ]
    (event,) = events_for(ENIPOOLS, before, after)
    assert (event.type, event.reason, event.action) == (NORMAL, "Reachable", "Connect")
    assert event.note


def test_an_unknown_condition_is_no_event() -> None:
    after = [condition(Type.SUPPORTED, Reason.QUOTA_EXCEEDED, "not known yet", status=None)]
    assert events_for(ENIPOOLS, (), after) == ()


def test_a_lost_address_is_a_warning_though_its_condition_is_true() -> None:
    lost = condition(Type.ADDRESS_LOST, Reason.PORT_LOST, "restart the pod", status=True)
    found = condition(Type.ADDRESS_LOST, Reason.ASSIGNED, status=False)
    (event,) = events_for(PODIPS, (), [lost])
    assert event == Transition(WARNING, "PortLost", "restart the pod", "CheckPort")
    (event,) = events_for(PODIPS, [lost], [found])
    assert (event.type, event.reason) == (NORMAL, "Assigned")


def test_a_reason_of_somebody_else_is_no_event() -> None:
    strange = Condition(Type.READY, Status.FALSE, "WhateverAnAgentSays", "x")
    assert events_for(ENIS, (), [strange]) == ()


def some(type_: Type, reason: Reason, status: bool | None) -> Condition:
    return condition(type_, reason, "x", status=status)


STATUSES = st.sampled_from([True, False, None])
CONDITIONS = st.lists(
    st.builds(some, st.sampled_from(Type), st.sampled_from(Reason), STATUSES),
    unique_by=lambda c: c.type,
)


@given(CONDITIONS, CONDITIONS)
def test_the_same_conditions_are_no_event_and_a_reason_is_told_once(
    before: list[Condition], after: list[Condition]
) -> None:
    assert events_for(ENIS, after, after) == ()
    found = events_for(ENIS, before, after)
    assert len({(event.reason, event.note) for event in found}) == len(found)
    lasting = {c.reason for c in after if c.type == Type.CAPACITY_AVAILABLE}
    assert all(
        event.type is (EVENT_TYPES[event.reason] or (WARNING if event.reason in lasting else None))
        for event in found
    )


def test_a_condition_with_an_action_is_the_operators() -> None:
    operators = {
        *(Type.CLOUD_REACHABLE, Type.CREDENTIALS_CURRENT),
        *(Type.CAPACITY_AVAILABLE, Type.SUPPORTED),
        *(Type.PORT_READY, Type.ATTACHED, Type.SIZED, Type.UP_TO_DATE),
        *(Type.ADDRESS_LOST, Type.PLACED, Type.PORTS_OWNED),
    }
    assert set(ACTIONS) == operators


def test_every_event_of_a_status_is_recorded_about_its_object() -> None:
    recorded: list[tuple[Any, ...]] = []

    class Recorder:
        def record(self, *positional: Any, **named: Any) -> None:
            recorded.append((*positional, named))

    metadata = ObjectMeta(name="e", uid="1")
    after = [
        bad(Type.PORT_READY, Reason.QUOTA_EXCEEDED),
        bad(Type.READY, Reason.SERVER_NOT_FOUND, "no such server"),
    ]
    record_transitions(Recorder(), ENIS, metadata, (), after)
    assert recorded == [
        (ENIS, metadata, WARNING, "QuotaExceeded", {"note": QUOTA, "action": "CreatePort"}),
        (
            *(ENIS, metadata, WARNING, "ServerNotFound"),
            {"note": "no such server", "action": "Reconcile"},
        ),
    ]
