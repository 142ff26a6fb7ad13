"""What OpenStack's error answers mean, and one line about them that a person can act on.

Four different 409s come from Neutron alone: the type in its body decides, not the number. Request
ids, addresses and everything else that differs from call to call is left out of the text, so that
it can stand in a condition without making it flap.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from openeni_operator.cloud.budget import Sort
from openeni_operator.cloud.errors import (
    CloudError,
    ConflictError,
    CredentialsInvalidError,
    DeniedError,
    ExhaustedError,
    InvalidError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaExceededError,
    ThrottledError,
    UnreachableError,
)

SERVER_ERRORS: Final = 500
LENGTH: Final = 300  # of a quoted text; a condition's message holds three of them
RETRY_AFTER: Final = 30.0  # seconds, where the cloud says "slow down" but not for how long
_REQUEST_ID: Final = re.compile(
    r"\s*\(?(?:HTTP \d+\)?\s*)?\(?(?:Request-ID: ?)?req-[0-9a-f-]{36}\)?"
)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that is an error."""

    status: int
    headers: Mapping[str, str]
    body: str


def meaning(  # noqa: PLR0911 a table
    answer: Answer, sort: Sort, cloud: str
) -> CloudError:
    """Say what to do about it."""
    type_, text = _said(answer.body)
    said = f"cloud {cloud!r} says: {text or f'HTTP {answer.status}'}"
    match answer.status:
        case 401:
            return CredentialsInvalidError(
                f"cloud {cloud!r} refuses the credentials: correct this entry of clouds.yaml"
            )
        case 403:
            return DeniedError(f"{said}; the project's role or quota does not allow it")
        case 404:
            return NotFoundError(said)
        case 409 | 412:
            return _conflict(type_, said)
        case 413 | 429:
            return ThrottledError(
                f"cloud {cloud!r} asks for fewer calls; the operator slows down by itself",
                _retry_after(answer.headers),
            )
        case status if status < SERVER_ERRORS:
            return InvalidError(said)
        case _:
            return no_answer(said, sort)


def no_answer(said: str, sort: Sort) -> CloudError:
    """A question without an answer can be asked again; an order may have been carried out."""
    return UnreachableError(said) if sort is Sort.READ else OutcomeUnknownError(said)


def one_line(text: str) -> str:
    """First line of a text, without request ids, cut to a length that fits a condition."""
    lines = _REQUEST_ID.sub("", text).strip().splitlines()
    return lines[0].strip()[:LENGTH] if lines else ""


def _conflict(type_: str, said: str) -> CloudError:
    match type_:
        case "OverQuota":
            return QuotaExceededError(f"{said}; ask for a higher quota or delete unused ports")
        case "IpAddressGenerationFailure":
            return ExhaustedError(
                f"{said}; add a subnet to spec.subnets or free addresses in this one"
            )
        case _:
            return ConflictError(said)


def _said(body: str) -> tuple[str, str]:
    """Type and text of a body. Neutron: NeutronError; Nova: one key such as computeFault."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        return "", ""  # an HTML page of a proxy says nothing that the status does not
    faults = list(cast("dict[str, Any]", content).values()) if isinstance(content, dict) else []
    if not faults or not isinstance(faults[0], dict):
        return "", one_line(str(faults[0])) if faults else ""
    fault = cast("dict[str, Any]", faults[0])
    return str(fault.get("type", "")), one_line(str(fault.get("message", "")))


def _retry_after(headers: Mapping[str, str]) -> float:
    text = next((v for k, v in headers.items() if k.lower() == "retry-after"), "")
    return min(float(text), 600.0) if text.isdigit() else RETRY_AFTER
