"""The call limiter: bounded budgets, one call at a time for each key, classified errors."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.cloud.budget import CallType, TokenBucket
from openeni_operator.cloud.call_limiter import CallLimiter, CallLimits, NotLeadingError
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


def limiter(**limits: float) -> CallLimiter:
    return CallLimiter("default", CallLimits(writes=1e6, reads=1e6, attaches=1e6, **limits))  # type: ignore[arg-type] # numbers


def unknown(_: Exception, call_type: CallType) -> CloudError:
    return CloudUnreachableError("x") if call_type is CallType.READ else OutcomeUnknownError("x")


def test_only_cloud_errors_are_raised() -> None:
    def fails() -> None:
        raise SdkError("secret")

    with pytest.raises(OutcomeUnknownError) as raised:
        limiter().call("create port", CallType.WRITE, fails, unknown)
    assert raised.value.__suppress_context__


def test_who_may_not_write_may_read() -> None:
    allowed, done = [True], list[str]()
    limits = CallLimits(writes=1e6, reads=1e6, attaches=1e6)
    tested = CallLimiter("default", limits, may_write=lambda: allowed[0])

    def call(call_type: CallType) -> None:
        tested.call("x", call_type, lambda: done.append(call_type.value), unknown)

    for call_type in CallType:
        call(call_type)
    allowed[0] = False
    call(CallType.READ)
    for call_type in (CallType.WRITE, CallType.ATTACH):
        with pytest.raises(NotLeadingError):
            call(call_type)
    assert done == [*(one.value for one in CallType), CallType.READ.value]


def test_calls_with_one_key_run_one_at_a_time_and_others_go_on() -> None:
    release, started, ended = threading.Event(), threading.Event(), list[str]()
    tested = limiter()

    def slow() -> None:
        started.set()
        assert release.wait(10)
        ended.append("first")

    first = threading.Thread(
        target=tested.call,
        args=("attach", CallType.ATTACH, slow, unknown),
        kwargs={"key": "server/a"},
    )
    second = threading.Thread(
        target=tested.call,
        args=("attach", CallType.ATTACH, lambda: ended.append("second"), unknown),
        kwargs={"key": "server/a"},
    )
    first.start()
    assert started.wait(10)
    second.start()
    tested.call("attach", CallType.ATTACH, lambda: ended.append("other"), unknown, key="server/b")
    assert ended == ["other"]
    release.set()
    first.join(10)
    second.join(10)
    assert ended == ["other", "first", "second"]


def test_waiting_for_a_call_that_does_not_end_is_bounded() -> None:
    tested, release, started = limiter(max_wait=0.05), threading.Event(), threading.Event()

    def stuck() -> None:
        started.set()
        release.wait(10)

    holder = threading.Thread(
        target=tested.call,
        args=("attach", CallType.ATTACH, stuck, unknown),
        kwargs={"key": "server/a"},
    )
    holder.start()
    assert started.wait(10)
    with pytest.raises(ResourceConflictError, match="has not ended"):
        tested.call("attach", CallType.ATTACH, lambda: None, unknown, key="server/a")
    release.set()
    holder.join(10)
    tested.call("attach", CallType.ATTACH, lambda: None, unknown, key="server/a")


NEUTRON = '{"NeutronError": {"type": "%s", "message": "%s", "detail": ""}}'
NOVA = '{"computeFault": {"code": 500, "message": "Unexpected API Error.\\nTrace"}}'


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
            ResourceConflictError,
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
    found = classify_response(ErrorResponse(status, {}, body), call_type, "default")
    assert type(found) is error
    assert "default" in found.message
    assert "\n" not in found.message
    assert "<" not in found.message


@pytest.mark.parametrize(("given", "after"), [("17", 17), ("99999", 600), ("soon", 30)])
def test_retry_after_is_honoured_up_to_ten_minutes(given: str, after: float) -> None:
    assert (
        classify_response(
            ErrorResponse(429, {"Retry-After": given}, ""), CallType.READ, "x"
        ).retry_after
        == after
    )


def test_request_ids_are_removed_and_long_texts_cut() -> None:
    text = "Unexpected API Error. (HTTP 500) (Request-ID: req-0f3a2b1c-1111-2222-3333-444455556666)"
    assert first_line(text) == "Unexpected API Error."
    assert len(first_line("x" * 999)) == 300
