"""Pauses: no call is made that must fail, and none is held up by what is over."""

from dataclasses import replace
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.cloud.admission import (
    TRIAL_SECONDS,
    Admitted,
    Call,
    NotYet,
)
from openeni_operator.cloud.budget import CallType
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    CredentialsInvalidError,
    DeniedError,
    OutcomeUnknownError,
    QuotaExceededError,
    ResourceNotFoundError,
    SubnetExhaustedError,
    ThrottledError,
)
from openeni_operator.cloud.pauses import (
    FIRST_PAUSE,
    MAX_PAUSE,
    MAX_QUOTA_PAUSE,
    UNREACHABLE_CALLS,
)
from openeni_testing.cloud.desk import CREATE, DELETE, READ, SERVER, Desk, attach

FAILURES: Final[tuple[CloudError, ...]] = (
    CredentialsInvalidError("x"),
    ThrottledError("slow down", 30),
    QuotaExceededError("full"),
    OutcomeUnknownError("x"),
    CloudUnreachableError("x"),
    DeniedError("x"),
    ResourceNotFoundError("x"),
)


@pytest.mark.parametrize(
    ("failures", "refused"),
    [
        ([CloudUnreachableError("x")] * UNREACHABLE_CALLS, [READ, CREATE, DELETE]),
        ([CloudUnreachableError("x")] * (UNREACHABLE_CALLS - 1), []),
        ([CredentialsInvalidError("x")], [READ, CREATE, DELETE]),
        ([ThrottledError("x", 7)], [READ, CREATE, DELETE]),
        ([DeniedError("x")], []),
        ([ResourceNotFoundError("x")], []),
    ],
)
def test_a_failure_of_a_service_stops_its_calls_and_no_others(
    failures: list[CloudError], refused: list[Call]
) -> None:
    desk = Desk()
    for failure in failures:
        desk.make(READ, failure)
    for call in (READ, CREATE, DELETE):
        if call in refused:
            error = desk.refused(call)
            assert type(error) is type(failures[-1])
            assert error.message == "x"
            assert error.retry_after > 0
        else:
            assert isinstance(desk.make(call), Admitted)
    assert isinstance(desk.make(SERVER), Admitted)


@pytest.mark.parametrize("after", [1.0, 600.0])
def test_nobody_calls_a_service_before_it_asks_for_calls_again(after: float) -> None:
    """Less than the first pause is no reason to call earlier."""
    desk, pause = Desk(), max(after, FIRST_PAUSE)
    desk.make(CREATE, ThrottledError("slow down", after))
    for desk.now in (0.0, pause - 0.5):
        for call in (READ, CREATE, DELETE):
            assert desk.refused(call).retry_after == pause - desk.now
    desk.now = pause
    assert isinstance(desk.make(READ), Admitted)


def test_a_change_without_an_answer_says_nothing_about_the_service() -> None:
    desk = Desk()
    for n in range(20):
        desk.now += 10
        desk.make(attach(n), OutcomeUnknownError("x"))
    assert isinstance(desk.make(SERVER), Admitted)


def test_a_used_up_quota_stops_creations_only() -> None:
    desk = Desk()
    desk.make(CREATE, QuotaExceededError("full"))
    assert isinstance(desk.refused(replace(CREATE, subject="q", exclusive="q")), QuotaExceededError)
    assert isinstance(desk.make(DELETE), Admitted)
    assert isinstance(desk.make(READ), Admitted)


def test_an_exhausted_subnet_stops_no_other_creation() -> None:
    desk = Desk()
    desk.make(CREATE, SubnetExhaustedError("full"))
    assert isinstance(desk.make(CREATE), Admitted)


@pytest.mark.parametrize(
    ("call", "error", "most"),
    [
        (READ, CredentialsInvalidError("x"), MAX_PAUSE),
        (CREATE, QuotaExceededError("x"), MAX_QUOTA_PAUSE),
    ],
)
def test_after_a_pause_one_call_tries_for_all_and_pauses_grow(
    call: Call, error: CloudError, most: float
) -> None:
    desk, tries = Desk(), list[float]()
    for _ in range(2000):
        asked = [desk.make(replace(call, subject=f"{n}", exclusive=f"{n}"), error) for n in "abc"]
        made = sum(isinstance(verdict, Admitted) for verdict in asked)
        assert made <= 1
        tries += [desk.now] * made
        desk.now += 1
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == most


def test_a_call_that_was_in_flight_when_a_pause_began_does_not_end_it() -> None:
    desk = Desk()
    first, second = (replace(CREATE, subject=n, exclusive=n) for n in "ab")
    for call in (first, second):
        assert isinstance(desk.admission.admit(call, 0), Admitted)
    desk.admission.finish(first, ThrottledError("slow down", 60), 0, 1)
    desk.admission.finish(second, None, 0, 1.2)
    desk.now = 1.3
    assert isinstance(desk.refused(READ), ThrottledError)
    desk.now = 62
    assert isinstance(desk.make(READ), Admitted)


@pytest.mark.parametrize("error", [QuotaExceededError("full"), ThrottledError("slow down", 30)])
def test_failures_that_were_in_flight_together_are_one(error: CloudError) -> None:
    desk = Desk()
    calls = [replace(CREATE, subject=n, exclusive=n) for n in "abcd"]
    for call in calls:
        assert isinstance(desk.admission.admit(call, 0), Admitted)
    for call in calls:
        desk.admission.finish(call, error, 0, 1)
    desk.now = 1.1
    assert desk.refused(calls[0]).retry_after <= 30


def test_who_asks_while_a_call_tells_whether_a_pause_is_over_waits_for_that_only() -> None:
    desk = Desk()
    desk.make(READ, CredentialsInvalidError("x"))
    desk.now = 1000
    assert isinstance(desk.admission.admit(READ, desk.now), Admitted)
    verdict = desk.make(CREATE)
    assert isinstance(verdict, NotYet)
    assert verdict.seconds == TRIAL_SECONDS
    desk.admission.finish(READ, None, desk.now, desk.now + 0.1)
    assert isinstance(desk.make(CREATE), Admitted)


def test_a_call_without_a_result_after_a_pause_leaves_the_next_one_to_tell() -> None:
    desk = Desk()
    desk.make(READ, CredentialsInvalidError("x"))
    desk.now = 1000
    assert isinstance(desk.admission.admit(READ, desk.now), Admitted)
    desk.admission.abandon(READ)
    assert isinstance(desk.make(READ), Admitted)


@pytest.mark.parametrize("paused", [QuotaExceededError("full"), ThrottledError("slow down", 30)])
@pytest.mark.parametrize("trial", FAILURES)
def test_a_call_after_a_pause_that_fails_in_another_way_does_not_stop_the_next_for_ever(
    paused: CloudError, trial: CloudError
) -> None:
    desk = Desk()
    desk.make(CREATE, paused)
    desk.now += 1000
    assert isinstance(desk.make(CREATE, trial), Admitted)
    desk.now += 1000
    assert isinstance(desk.make(CREATE), Admitted)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([READ, SERVER, CREATE, DELETE, attach(1)]),
            st.sampled_from([None, *FAILURES]),
            st.integers(0, 3),  # calls that begin while it is in flight
            st.sampled_from([0.0, 1.0, 1000.0]),
        ),
        max_size=12,
    )
)
def test_whatever_failed_each_call_is_made_again_in_the_end(
    calls: list[tuple[Call, CloudError | None, int, float]],
) -> None:
    desk, in_flight = Desk(), list[tuple[int, Call, CloudError | None, float]]()
    for call, failure, others, pause in calls:
        if isinstance(desk.admission.admit(call, desk.now), Admitted):
            in_flight.append((others, call, failure, desk.now))
        desk.now += pause
        for _, ended, how, begun in [each for each in in_flight if not each[0]]:
            desk.admission.finish(ended, how, begun, desk.now)
        in_flight = [(left - 1, c, how, begun) for left, c, how, begun in in_flight if left]
    for _, ended, how, begun in in_flight:
        desk.admission.finish(ended, how, begun, desk.now)
    for call in (READ, SERVER, CREATE, DELETE, attach(1)):
        desk.now += 1000
        assert isinstance(desk.make(call), Admitted)


def test_a_success_ends_the_pause() -> None:
    desk = Desk()
    desk.make(READ, CredentialsInvalidError("x"))
    desk.now += 1000
    assert isinstance(desk.make(READ), Admitted)
    assert isinstance(desk.make(CREATE), Admitted)


def test_new_credentials_end_every_pause() -> None:
    desk = Desk()
    desk.make(READ, CredentialsInvalidError("x"))
    desk.admission.forget_failures(READ.entry)
    assert isinstance(desk.make(READ), Admitted)


def test_a_failed_log_in_stops_no_other() -> None:
    """Whoever holds the connections remembers it, and forgets it when the credentials change."""
    desk, log_in = Desk(), Call("connect", CallType.READ, "")
    for _ in range(UNREACHABLE_CALLS):
        desk.make(log_in, CredentialsInvalidError("x"))
    assert isinstance(desk.make(log_in), Admitted)
