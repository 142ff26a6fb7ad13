"""Paths, queries, errors, events and times of the Kubernetes API over HTTP, as plain values."""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from openeni_crds.meta import DECODE_ERRORS
from openeni_crds.names import Kind
from openeni_kube.store import (
    ConflictError,
    GoneError,
    InvalidError,
    NotFoundError,
    StoreError,
    UnreachableError,
    WatchEvent,
)

_SERVER_ERROR: Final = 500
_ERRORS: Final[Mapping[int, type[StoreError]]] = {
    400: InvalidError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    422: InvalidError,
}


def object_path(kind: Kind, name: str = "", namespace: str = "", subresource: str = "") -> str:
    """Return the path of a kind's collection, or of one object or its subresource."""
    parts = ["/apis" if kind.group else "/api", kind.api_version]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(kind.plural)
    parts += [quote(part, safe="") for part in (name, subresource) if part]
    return "/".join(parts)


def is_loopback(url: str) -> bool:
    """Return True if a URL's host is `localhost` or a loopback address."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def selectors(field_selector: str, label_selector: str) -> dict[str, str]:
    """Return the selectors that are given as a query."""
    given = {"fieldSelector": field_selector, "labelSelector": label_selector}
    return {name: text for name, text in given.items() if text}


def parse_error(status: int, body: bytes) -> StoreError:
    """Return the error of a response; a body that is not a Status is quoted."""
    try:
        message = str(msgspec.json.decode(body)["message"])
    except (*DECODE_ERRORS, KeyError, TypeError):
        message = body[:200].decode(errors="replace") or "no explanation"
    return _kind_of(status)(status, message)


def _kind_of(status: int) -> type[StoreError]:
    return _ERRORS.get(status, UnreachableError if status >= _SERVER_ERROR else StoreError)


def parse_event(line: bytes) -> WatchEvent:
    """Return the event in a line of a watch, or raise the error that it reports."""
    try:
        event = msgspec.json.decode(line)
    except DECODE_ERRORS as error:
        raise UnreachableError(0, f"a watch event is not JSON: {one_line(error)}") from error
    if event["type"] == "ERROR":
        status = event["object"]
        code = status.get("code", _SERVER_ERROR)
        raise _kind_of(code)(code, status.get("message", ""))
    return WatchEvent(event["type"], event["object"])


def format_time(at: datetime) -> str:
    """Return a time in UTC as metav1.Time prints it: RFC 3339, whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(at: datetime) -> str:
    """Return a time in UTC as metav1.MicroTime prints it; with fewer digits it does not parse."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def one_line(error: BaseException) -> str:
    """Return an error's text without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__
