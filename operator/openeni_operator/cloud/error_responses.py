"""Classify OpenStack's error responses and turn each into one line for administrators.

Neutron alone has four different 409s: the type in the body decides, not the status. Request IDs and
everything else that differs from call to call are removed, so that the text is stable enough for a
condition.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

from openeni_operator.cloud.budget import CallType
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

FIRST_SERVER_ERROR: Final = 500
MAX_QUOTE_LENGTH: Final = 300  # a condition's message holds three of these
DEFAULT_RETRY_AFTER: Final = 30.0  # seconds; for a throttled call without a usable Retry-After
MAX_RETRY_AFTER: Final = 600.0  # seconds
_REQUEST_ID: Final = re.compile(
    r"\s*\(?(?:HTTP \d+\)?\s*)?\(?(?:Request-ID: ?)?req-[0-9a-f-]{36}\)?"
)


@dataclass(frozen=True)
class ErrorResponse:
    """An HTTP response with an error status."""

    status: int
    headers: Mapping[str, str]
    body: str
    received: datetime  # timezone-aware

    def header(self, name: str) -> str:
        """Return the header of that name in lower case; "" if there is none."""
        return next((v.strip() for k, v in self.headers.items() if k.lower() == name), "")


def classify_response(  # noqa: PLR0911 a table
    response: ErrorResponse, call_type: CallType, cloud: str
) -> CloudError:
    """Return the CloudError for the response."""
    fault_type, fault = _parse_fault(response.body)
    text = f"cloud {cloud!r} returned: {fault or f'HTTP {response.status}'}"
    after = _retry_after(response)
    match response.status:
        case 401:
            return CredentialsInvalidError(
                f"cloud {cloud!r} rejects the credentials: correct this entry of clouds.yaml"
            )
        case 403:
            return DeniedError(
                f"{text}; give the role of the credentials the right to do this, in the policy of "
                "the cloud's service"
            )
        case 404:
            return ResourceNotFoundError(
                f"{text}; create it, or correct what names it: the ENIPool's spec, or the project "
                "and region in clouds.yaml"
            )
        case 409:
            return _classify_conflict(fault_type, text)
        case 412:
            return RevisionConflictError(
                f"{text}; the operator looks again: if it lasts, find out who else changes it"
            )
        case 413 | 429:
            return ThrottledError(
                f"cloud {cloud!r} throttles the operator, which lowers its call rate and retries",
                DEFAULT_RETRY_AFTER if after is None else after,
            )
        case status if status < FIRST_SERVER_ERROR:
            return InvalidRequestError(
                f"{text}; correct the field of the ENIPool that the request was made from"
            )
        case _:
            return no_response_error(
                f"{text}; the operator retries: if it lasts, see the log of the cloud's service",
                call_type,
                after,
            )


def no_response_error(
    message: str, call_type: CallType, retry_after: float | None = None
) -> CloudError:
    """Return the error of a call without a result: a read can be retried, a change may be done.

    The cloud may have asked to be called again after `retry_after` seconds. A change without a
    result is looked up soon all the same; the read that does so gets the Retry-After.
    """
    if call_type is CallType.READ:
        return CloudUnreachableError(message, retry_after)
    return OutcomeUnknownError(message)


def first_line(text: str) -> str:
    """Return the first line of a text without request IDs, short enough for a condition."""
    lines = _REQUEST_ID.sub("", text).strip().splitlines()
    return lines[0].strip()[:MAX_QUOTE_LENGTH] if lines else ""


def _classify_conflict(fault_type: str, text: str) -> CloudError:
    match fault_type:
        case "OverQuota":
            return QuotaExceededError(f"{text}; ask for a higher quota or delete unused ports")
        case "IpAddressGenerationFailure":
            return SubnetExhaustedError(
                f"{text}; add a subnet to spec.subnets or free addresses in this one"
            )
        case _:
            return ResourceConflictError(
                f"{text}; the operator retries: if it lasts, change the resource's state in the "
                "cloud"
            )


def _parse_fault(body: str) -> tuple[str, str]:
    """Return type and message of Neutron's `NeutronError` or of Nova's `computeFault` and kin."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        return "", ""  # a proxy's HTML page adds nothing to the status
    faults = list(cast("dict[str, Any]", content).values()) if isinstance(content, dict) else []
    if not faults or not isinstance(faults[0], dict):
        return "", first_line(str(faults[0])) if faults else ""
    fault = cast("dict[str, Any]", faults[0])
    return str(fault.get("type", "")), first_line(str(fault.get("message", "")))


def _retry_after(response: ErrorResponse) -> float | None:
    """Return the seconds of Retry-After, a number or a date (RFC 9110, 10.2.3); None if unclear.

    A date is on the cloud's clock, so compare it with the response's own Date if it has one.
    """
    text = response.header("retry-after")
    if text.isdecimal():
        return min(float(text), MAX_RETRY_AFTER)
    until = _parse_date(text)
    if until is None:
        return None
    sent = _parse_date(response.header("date")) or response.received
    return min(max((until - sent).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _parse_date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
