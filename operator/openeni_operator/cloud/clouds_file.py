"""Read from clouds.yaml the version and the account of each entry.

A version is a digest of all that leads to the cloud: the entry, the settings that all entries
share, and the certificates that it names. So an entry that stays the same keeps its connection,
whatever becomes of the others.

An account is whom a cloud counts calls for: a user or an application credential, at one Keystone
and in one region. It is derived from the entry's fields, before any log-in, so one user given by
name in one entry and by ID in another counts as two accounts. Nothing of an account is a secret.
"""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import msgspec

from openeni_operator.cloud.errors import CloudNotConfiguredError
from openeni_operator.cloud.sdk_connection import read_config

NO_ENTRY: Final = ""  # the version of an entry that is not there
_CERTIFICATES: Final = ("cacert", "cert", "key")  # fields of an entry that name files
_DOMAIN: Final = (
    *("user_domain_id", "user_domain_name", "domain_id", "domain_name"),
    *("default_domain_id", "default_domain_name", "identity_provider"),
)
# Fields that identify the user, in order of preference, each with those that qualify it.
_USERS: Final = {"application_credential_id": (), "user_id": (), "username": _DOMAIN}
_PORTS: Final = {"http": 80, "https": 443}
_VERSIONS: Final = ("v3", "v2.0")  # of Keystone's API, at the end of an auth_url

# A mounted Secret changes by its symlink, which leads to another inode.
_Stat: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Account:
    """Whom a cloud counts calls for. An entry that does not say who has one of its own."""

    place: str  # a digest of Keystone's URL and the region; "" if the entry does not say
    user: str


@dataclass(frozen=True)
class Entry:
    """An entry of clouds.yaml, or that there is none."""

    version: str
    account: Account


@dataclass(frozen=True)
class _Content:
    """What was read at a time. A file that is no clouds.yaml is one version of every entry."""

    stat: _Stat | None
    entries: Mapping[str, Entry]
    others: str = NO_ENTRY


class CloudsFile:
    """Thread-safe. The file is read again only when it may have changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._content = _Content(None, {})

    def entry(self, name: str) -> Entry:
        """Return an entry; its version is NO_ENTRY if there is none, or no file."""
        with self._lock:
            stat = _stat(self.path)
            if stat != self._content.stat:
                self._content = _read(self.path, stat)
            found = self._content.entries.get(name)
            return found or _unidentified(name, self._content.others)

    def check_exists(self) -> None:
        """Raise CloudNotConfiguredError if there is no file."""
        try:
            self.path.stat()
        except OSError as error:
            raise CloudNotConfiguredError(
                f"{self.path}: {error.strerror}; put a clouds.yaml there (in the chart: a Secret)"
            ) from None


def _stat(path: Path) -> _Stat | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(path: Path, stat: _Stat | None) -> _Content:
    try:
        content = path.read_bytes()
    except OSError:
        return _Content(stat, {})
    try:
        config = read_config(path)
        shared = {key: value for key, value in config.items() if key != "clouds"}
        entries = {
            name: _entry(name, shared, content) for name, content in config["clouds"].items()
        }
    except Exception:  # noqa: BLE001 a malformed file makes the parser raise anything
        return _Content(stat, {}, hashlib.sha256(content).hexdigest())
    return _Content(stat, entries)


def _entry(name: str, shared: Mapping[str, Any], content: Any) -> Entry:
    """Return an entry; a malformed one changes nothing about the others."""
    try:
        version = _digest((shared, content, _certificates(content)))
    except Exception:  # noqa: BLE001 YAML may hold anything where a mapping belongs
        return _unidentified(name, _digest(repr((shared, content))))
    try:
        auth = {key.replace("-", "_"): value for key, value in content["auth"].items()}
        region = content.get("region_name") or content.get("regions")
        place = _digest((_keystone(content, auth), region))
    except (AttributeError, KeyError, TypeError, ValueError):
        return _unidentified(name, version)
    return Entry(version, Account(place, _user(auth) or _own(name)))


def _unidentified(name: str, version: str) -> Entry:
    """Return an entry that names no user: it has an account of its own."""
    return Entry(version, Account("", _own(name)))


def _own(name: str) -> str:
    return f"of entry {name}"


def _keystone(content: Mapping[str, Any], auth: Mapping[str, Any]) -> tuple[object, ...]:
    """Return where to log in, without what makes no difference; raise ValueError if nowhere."""
    if "auth_url" not in auth:
        return (content["profile"],)  # of a vendor, who has the URL
    url = urlsplit(str(auth["auth_url"]))
    path = url.path.rstrip("/")
    for version in _VERSIONS:
        path = path.removesuffix(f"/{version}").rstrip("/")
    if not url.hostname:
        raise ValueError("auth_url names no host")
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme), path


def _user(auth: Mapping[str, Any]) -> str:
    """Return a digest of who logs in; "" if the entry does not say."""
    for field, domain in _USERS.items():
        if auth.get(field):
            return _digest((field, [auth.get(f) for f in (field, *domain)]))
    return ""


def _certificates(entry: Mapping[str, Any]) -> list[str]:
    """Return digests of the files that the entry names; "" for one that cannot be read."""
    found: list[str] = []
    for field in _CERTIFICATES:
        try:
            content = Path(entry[field]).read_bytes() if entry.get(field) else b""
        except OSError:
            content = b""
        found.append(hashlib.sha256(content).hexdigest() if content else "")
    return found


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()
