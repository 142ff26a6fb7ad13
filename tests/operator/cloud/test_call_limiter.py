"""The call limiter: bounded budgets, one call at a time for each key, classified errors."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_kube.store import StoreError
from openeni_operator.cloud.admission import Call, CallLimits
from openeni_operator.cloud.budget import CallType, TokenBucket
from openeni_operator.cloud.call_limiter import CallLimiter, NotLeadingError, NotYetError
from openeni_operator.cloud.error_responses import ErrorResponse, classify_response, first_line
from openeni_operator.cloud.errors import (
    CloudError,
    CloudUnreachableError,
    CredentialsInvalidError,
    DeniedError,
    InvalidRequestError,
    OutcomeUnknownError,
    QuotaExceededError,
    ResourceConflictError,
    ResourceNotFoundError,
    RevisionConflictError,
    SubnetExhaustedError,
    ThrottledError,
)


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.5, 20), st.integers(1, 8))
def test_no_time_window_has_more_calls_than_burst_and_rate_allow(
    gaps: list[float], rate: float, burst: int
) -> None:
    bucket, now, started = TokenBucket(rate, burst), 0.0, list[float]()
    for gap in gaps:
        now += gap
        started.append(now + bucket.reserve(now))
    for i, first in enumerate(started):
        for j in range(i, len(started)):
            assert j - i + 1 <= burst + rate * (started[j] - first) + 1e-6


def test_unused_time_does_not_accumulate() -> None:
    bucket = TokenBucket(rate=5, burst=5)
    bucket.reserve(0)
    waits = [bucket.reserve(1000) for _ in range(8)]
    assert waits[:5] == [0] * 5
    assert waits[5:] == pytest.approx([0.2, 0.4, 0.6])


def test_throttling_halves_the_rate_and_success_restores_it() -> None:
    bucket = TokenBucket(rate=10, burst=1)
    bucket.slow_down()
    assert bucket.rate_factor == 0.5
    for _ in range(20):
        bucket.speed_up()
    assert bucket.rate_factor == 1.0
    for _ in range(99):
        bucket.slow_down()
    assert bucket.rate_factor == 1 / 16


class SdkError(Exception):
    pass


LIMITS = CallLimits(writes=1e6, reads=1e6, attaches=1e6)
READ = Call("list ports", CallType.READ, "network")
WRITE = Call("delete port", CallType.WRITE, "network", "p1", "port/p1")
ATTACH = Call("attach port", CallType.ATTACH, "compute", "p1", "server/a")


def unknown(_: Exception, call_type: CallType) -> CloudError:
    return CloudUnreachableError("x") if call_type is CallType.READ else OutcomeUnknownError("x")


def test_only_cloud_errors_are_raised() -> None:
    def fails() -> None:
        raise SdkError("secret")

    with pytest.raises(OutcomeUnknownError) as raised:
        CallLimiter("default", LIMITS).call(WRITE, fails, unknown)
    assert raised.value.__suppress_context__


def test_who_may_not_write_may_read() -> None:
    allowed, done = [True], list[str]()
    tested = CallLimiter("default", LIMITS, may_write=lambda: allowed[0])

    def make(call: Call) -> None:
        tested.call(call, lambda: done.append(call.operation), unknown)

    for call in (READ, WRITE, ATTACH):
        make(call)
    allowed[0] = False
    make(READ)
    for call in (WRITE, ATTACH):
        with pytest.raises(NotLeadingError):
            make(call)
    allowed[0] = True
    make(WRITE)
    operations = [call.operation for call in (READ, WRITE, ATTACH, READ, WRITE)]
    assert done == operations, "a call that was not made holds up no later one"


def test_what_comes_before_a_call_is_done_once_admitted_and_then_leadership_is_asked() -> None:
    allowed, done = [True], list[str]()
    tested = CallLimiter("default", LIMITS, may_write=lambda: allowed[0])

    def make(before: Callable[[], None]) -> None:
        tested.call(WRITE, lambda: done.append("call"), unknown, before)

    def lose() -> None:
        done.append("before")
        allowed[0] = False

    def fail() -> None:
        raise StoreError(500, "no")

    make(lambda: done.append("before"))
    with pytest.raises(NotLeadingError):
        make(lose)
    allowed[0] = True
    with pytest.raises(StoreError):
        make(fail)
    make(lambda: done.append("before"))
    expected = ["before", "call", "before", "before", "call"]
    assert done == expected, "one that fails holds up no later one"


def test_before_a_call_that_may_not_be_made_yet_nothing_is_done() -> None:
    tested, done = CallLimiter("default", LIMITS), list[str]()

    def nested() -> None:
        with pytest.raises(NotYetError):
            tested.call(WRITE, lambda: done.append("call"), unknown, lambda: done.append("before"))

    tested.call(WRITE, nested, unknown)
    assert done == []


def test_of_calls_on_one_thing_one_is_in_flight_and_no_thread_waits_for_it() -> None:
    release, started, ended = threading.Event(), threading.Event(), list[str]()
    tested = CallLimiter("default", LIMITS)

    def slow() -> None:
        started.set()
        assert release.wait(10)
        ended.append("first")

    first = threading.Thread(target=tested.call, args=(ATTACH, slow, unknown))
    first.start()
    assert started.wait(10)
    second, other = (replace(ATTACH, subject="p2", exclusive=e) for e in ("server/a", "server/b"))
    with pytest.raises(NotYetError, match="an earlier call on server/a has not ended"):
        tested.call(second, lambda: ended.append("second"), unknown)
    tested.call(other, lambda: ended.append("other"), unknown)
    release.set()
    first.join(10)
    tested.call(second, lambda: ended.append("second"), unknown)
    assert ended == ["other", "first", "second"]


def test_a_thread_that_is_ended_in_a_call_holds_up_no_later_one() -> None:
    tested = CallLimiter("default", LIMITS)

    def ended() -> None:
        raise KeyboardInterrupt

    for _ in range(20):
        with pytest.raises(KeyboardInterrupt):
            tested.call(ATTACH, ended, unknown)


def test_an_error_that_cannot_be_classified_holds_up_no_later_call() -> None:
    tested = CallLimiter("default", LIMITS)

    def fails() -> None:
        raise SdkError("x")

    def confused(error: Exception, _: CallType) -> CloudError:
        raise ZeroDivisionError from error

    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            tested.call(ATTACH, fails, confused)


NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEUTRON = '{"NeutronError": {"type": "%s", "message": "%s", "detail": ""}}'
NOVA = '{"computeFault": {"code": 500, "message": "Unexpected API Error.\\nTrace"}}'


WAYS_OUT: dict[type[CloudError], str] = {
    CredentialsInvalidError: "correct this entry of clouds.yaml",
    DeniedError: "give the role of the credentials the right",
    ResourceNotFoundError: "create it, or correct what names it",
    QuotaExceededError: "ask for a higher quota",
    SubnetExhaustedError: "add a subnet to spec.subnets",
    ResourceConflictError: "if it lasts, change the resource's state",
    RevisionConflictError: "if it lasts, find out who else changes it",
    ThrottledError: "lowers its call rate and retries",
    InvalidRequestError: "correct the field of the ENIPool",
    OutcomeUnknownError: "if it lasts, see the log of the cloud's service",
    CloudUnreachableError: "if it lasts, see the log of the cloud's service",
}


@pytest.mark.parametrize(
    ("status", "body", "call_type", "error"),
    [
        (401, "", CallType.READ, CredentialsInvalidError),
        (403, NEUTRON % ("PolicyNotAuthorized", "no"), CallType.WRITE, DeniedError),
        (404, NEUTRON % ("PortNotFound", "no"), CallType.READ, ResourceNotFoundError),
        (409, NEUTRON % ("OverQuota", "Quota"), CallType.WRITE, QuotaExceededError),
        (
            409,
            NEUTRON % ("IpAddressGenerationFailure", "No more"),
            CallType.WRITE,
            SubnetExhaustedError,
        ),
        (409, NEUTRON % ("MacAddressInUse", "in use"), CallType.WRITE, ResourceConflictError),
        (
            409,
            '{"conflictingRequest": {"message": "busy"}}',
            CallType.ATTACH,
            ResourceConflictError,
        ),
        (
            412,
            NEUTRON % ("RevisionNumberConstraintFailed", "x"),
            CallType.WRITE,
            RevisionConflictError,
        ),
        (413, "", CallType.READ, ThrottledError),
        (429, "<html>slow down</html>", CallType.WRITE, ThrottledError),
        (400, NEUTRON % ("InvalidIpForSubnet", "x"), CallType.WRITE, InvalidRequestError),
        (500, NOVA, CallType.ATTACH, OutcomeUnknownError),
        (502, "<html>Bad Gateway</html>", CallType.WRITE, OutcomeUnknownError),
        (503, "", CallType.READ, CloudUnreachableError),
        (504, '"text"', CallType.READ, CloudUnreachableError),
        (500, "[]", CallType.READ, CloudUnreachableError),
    ],
)
def test_an_error_response_is_classified_by_what_to_do_next(
    status: int, body: str, call_type: CallType, error: type[CloudError]
) -> None:
    found = classify_response(ErrorResponse(status, {}, body, NOW), call_type, "default")
    assert type(found) is error
    assert WAYS_OUT[error] in found.message
    assert "default" in found.message
    assert "\n" not in found.message
    assert "<" not in found.message


def test_request_ids_are_removed_and_long_texts_cut() -> None:
    text = "Unexpected API Error. (HTTP 500) (Request-ID: req-0f3a2b1c-1111-2222-3333-444455556666)"
    assert first_line(text) == "Unexpected API Error."
    assert len(first_line("x" * 999)) == 300
