"""Take secrets out of objects and texts before they leave for somebody else. Pure.

Secrets are never read. What is taken out here is what others may have written where it does not
belong: into an environment variable, an annotation, a condition's message or a log.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

REMOVED: Final = "[removed]"
_SUSPECT: Final = (
    r"[\w.-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key)"
    r"[\w.-]*"
)
_NAME: Final = re.compile(_SUSPECT, re.IGNORECASE)
# Names of things that hold or describe secrets, and are none.
_HARMLESS: Final = re.compile(
    r"(name|names|namespace|ref|id|ids|expiration\w*|ServiceAccountToken)$", re.IGNORECASE
)
_DROPPED: Final = frozenset(
    {"managedFields", "kubectl.kubernetes.io/last-applied-configuration", "binaryData"}
)
_PATTERNS: Final = (
    re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
        r"(?:.{0,9999}?-----END [A-Z ]*PRIVATE KEY-----|.{0,9999})",  # or cut off
        re.DOTALL,
    ),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"),  # JSON Web Token
    re.compile(r"\bgAAAA[A-Za-z0-9_=-]{20,}"),  # Keystone's Fernet token
    re.compile(r"(?i)(?<=bearer )[\w+/=.~-]{6,}|(?<=authorization: basic )[\w+/=.~-]{6,}"),
    re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"),  # user and password in a URL
)
_PAIR: Final = re.compile(
    rf"""(?ix) (?P<name> \\?["']? (?P<word>{_SUSPECT}) \\?["']? \s* [=:] \s*)
    (?P<value> \\?"[^"\\]*\\?" | '[^']*' | [^\s,;"'{{}}\[\]]+ )"""
)


def redact_text(text: str) -> str:
    """Return the text without what looks like a key, a token or a password."""
    for pattern in _PATTERNS:
        text = pattern.sub(REMOVED, text)
    return _PAIR.sub(_pair, text)


def redact(value: Any) -> Any:
    """Return an object of JSON without secrets, and without what is long and says nothing."""
    whole: Any = value  # isinstance() makes a dict of unknowns of it, for pyright
    if isinstance(value, Mapping):
        return _of_mapping(whole)
    if isinstance(value, list | tuple):
        return [redact(item) for item in whole]
    return redact_text(value) if isinstance(value, str) else value


def _of_mapping(value: Mapping[str, Any]) -> dict[str, Any]:
    variable = str(value.get("name", "")) if "value" in value else ""
    return {
        key: REMOVED
        if isinstance(child, str) and child and _is_secret(variable if key == "value" else key)
        else redact(child)
        for key, child in value.items()
        if key not in _DROPPED
    }


def _is_secret(name: str) -> bool:
    return _NAME.fullmatch(name.rpartition("/")[2]) is not None and _HARMLESS.search(name) is None


def _pair(found: re.Match[str]) -> str:
    if not _is_secret(found["word"]):
        return found[0]
    quote = '"' if found["value"].startswith(('"', "\\")) else ""
    escape = "\\" if found["value"].startswith("\\") else ""
    return f"{found['name']}{escape}{quote}{REMOVED}{escape}{quote}"
