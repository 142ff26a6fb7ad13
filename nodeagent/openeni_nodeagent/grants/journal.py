"""The journal: what the agent must still know when it restarts on a running node.

It holds append-only records on a tmpfs, one line with a checksum each. A reboot ends every pod, so
the file may be lost then and nothing is fsynced. Should the folder survive a reboot, the boot ID in
the first record shows it, and the journal of another boot is dropped. The ends of cool-downs are
times of CLOCK_BOOTTIME, which a restart of the agent or a jump of the wall clock does not change.
"""

import contextlib
import errno
import os
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from openeni_nodeagent.datapath_api import ENIFacts, NodeFacts
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.known_enis import KnownENIs

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_COMPACT_ABOVE: Final = 512  # records; a node's whole state is some 300
_COMPACT_GROWN: Final = 1 << 20  # bytes more than its state: host ports make a record long


class JournalError(Exception):
    """The journal cannot be written; one line with the cause."""


class Boot(Struct, frozen=True, tag="boot"):
    boot_id: str


class Granted(Struct, frozen=True, tag="granted"):
    """A grant, before the kernel is configured, and again when its datapath has been built."""

    grant: Grant


class GrantEnded(Struct, frozen=True, tag="freed"):
    """The end of a grant, after its datapath has been removed."""

    container_id: str
    interface: str
    cooling_until: dict[str, float]


class CoolDowns(Struct, frozen=True, tag="cool-downs"):
    """Cool-downs: what compaction keeps of GrantEnded, and those of lost grants."""

    cooling_until: dict[str, float]


class NodeSeen(Struct, frozen=True, tag="node"):
    facts: NodeFacts


class ENISeen(Struct, frozen=True, tag="eni"):
    """An ENI's facts, before the first grant from it: a DEL needs them without the API server."""

    facts: ENIFacts


class ENIForgotten(Struct, frozen=True, tag="eni-gone"):
    name: str


JournalRecord: TypeAlias = (
    Boot | Granted | GrantEnded | CoolDowns | NodeSeen | ENISeen | ENIForgotten
)
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(JournalRecord)


@dataclass
class JournalState:
    """The state that the records of a journal add up to."""

    boot_id: str = ""
    node: NodeFacts | None = None
    enis: KnownENIs = field(default_factory=KnownENIs)
    grants: dict[tuple[str, str], Grant] = field(default_factory=dict[tuple[str, str], Grant])
    cooling_until: dict[str, float] = field(default_factory=dict[str, float])
    damaged: int = 0  # unreadable records, but for a torn write
    _owners: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def apply(self, record: JournalRecord) -> None:
        match record:
            case Boot(boot_id):
                self.boot_id = boot_id
            case Granted(grant):
                self._enter(grant)
            case GrantEnded(container_id, interface, cooling_until):
                self._end((container_id, interface))
                self.cooling_until.update(cooling_until)
            case CoolDowns(cooling_until):
                self.cooling_until.update(cooling_until)
            case NodeSeen(facts):
                self.node = facts
            case ENISeen(eni):
                self.enis.see(eni)
            case ENIForgotten(name):
                self.enis.forget(name)

    def _enter(self, grant: Grant) -> None:
        """Enter a grant; what another has of its addresses has ended, by a record that was lost."""
        key = grant.key
        self._end(key)
        for address in grant.addresses:
            self.cooling_until.pop(address, None)
            self._end(self._owners.get(address, key))
            self._owners[address] = key
        self.grants[key] = grant

    def _end(self, key: tuple[str, str]) -> None:
        grant = self.grants.pop(key, None)
        for address in grant.addresses if grant else ():
            self._owners.pop(address, None)

    def records(self) -> tuple[JournalRecord, ...]:
        """Return the shortest journal with this state."""
        node = (NodeSeen(self.node),) if self.node else ()
        return (
            Boot(self.boot_id),
            *node,
            *(ENISeen(eni) for eni in self.enis.all()),
            *((CoolDowns(self.cooling_until),) if self.cooling_until else ()),
            *(Granted(grant) for grant in self.grants.values()),
        )


def encode(record: JournalRecord) -> bytes:
    """Encode one line: checksum, space, JSON."""
    body = _encoder.encode(record)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> JournalRecord | None:
    """Return the record of a line without its newline, or None if it is damaged."""
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        record: JournalRecord = _decoder.decode(body)
    except msgspec.MsgspecError:
        return None
    return record


def replay(lines: Iterable[bytes]) -> JournalState:
    """Return the state that a journal's lines add up to, as its open file yields them.

    It may have grown longer than the memory that the agent has. Bytes without a newline, which can
    be at the very end alone, are a torn write and ignored.
    """
    state = JournalState()
    for line in lines:
        if not line.endswith(b"\n"):
            break
        if (record := decode(line[:-1])) is None:
            state.damaged += 1
        else:
            state.apply(record)
    return state


def read(path: Path) -> JournalState:
    """Return the state of the journal in a file. Raises OSError."""
    with path.open("rb") as file:
        return replay(file)


class Journal:
    """The journal's file. Safe for several threads."""

    def __init__(self, path: Path, boot_id: str) -> None:
        """Read the file, or create it. Raises OSError."""
        self._path = path
        self._lock = threading.Lock()
        state = read(path) if path.exists() else JournalState()
        if state.boot_id not in {"", boot_id}:
            state = JournalState()
        state.boot_id = boot_id
        self.state = state
        self._file = -1
        self._identity = (0, 0)  # its device and inode
        self._size = 0
        self._records = 0
        self._rewritten_size = 0
        self._restored = False  # written anew since `compact` has returned so
        self._rewrite()

    def append(self, *records: JournalRecord) -> None:
        """Append records in one write. Raises JournalError: none of them is in the file then."""
        line = b"".join(encode(record) for record in records)
        with self._lock:
            try:
                self._restore()
                _write(self._file, line)
            except OSError as error:
                raise JournalError(
                    f"the journal of grants cannot be written: {error.strerror}"
                ) from None
            self._size += len(line)
            self._records += len(records)
            for record in records:
                self.state.apply(record)

    def compact(self, cooling_until: Mapping[str, float]) -> bool:
        """Rewrite the file if it has grown long, with these cool-downs alone. Raises OSError.

        A file that was removed is written anew. A closed journal's file is the next process's.
        Returns True if the file has been written anew since the last call.
        """
        with self._lock:
            if self._file < 0:
                return False
            self._restore()
            grown = self._size - self._rewritten_size
            if self._records > _COMPACT_ABOVE or grown > _COMPACT_GROWN:
                self.state.cooling_until = dict(cooling_until)
                self._rewrite()
            restored, self._restored = self._restored, False
            return restored

    def size(self) -> tuple[int, int]:
        """Return how many records the file has, and how many bytes."""
        with self._lock:
            return self._records, self._size

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                with contextlib.suppress(OSError):
                    self._restore()
                os.close(self._file)
                self._file = -1

    def _restore(self) -> None:
        """Write the file anew if its path no longer leads to all of it. Raises OSError.

        Somebody may remove or empty it under a running agent, whose records nobody would read then.
        That takes 2 us, of a grant's milliseconds.
        """
        if self._file >= 0 and not self._is_there():
            self._rewrite()
            self._restored = True

    def _is_there(self) -> bool:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - pathlib takes longer
        except OSError:
            return False
        return (found.st_dev, found.st_ino, found.st_size) == (*self._identity, self._size)

    def _rewrite(self) -> None:
        records = self.state.records()
        content = b"".join(encode(record) for record in records)
        fresh = self._path.with_name(self._path.name + ".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        file = os.open(fresh, flags, 0o600)
        try:
            _write(file, content)
            made = os.fstat(file)
            fresh.rename(self._path)
        except OSError:
            os.close(file)
            with contextlib.suppress(OSError):  # it would take room that records need
                fresh.unlink()
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._records = file, len(content), len(records)
        self._rewritten_size = len(content)
        self._identity = made.st_dev, made.st_ino


def _write(file: int, content: bytes) -> None:
    """Write content to the end of a file, or nothing. Raises OSError."""
    written = os.write(file, content)
    if written != len(content):
        os.ftruncate(file, os.fstat(file).st_size - written)
        raise OSError(errno.ENOSPC, f"only {written} of {len(content)} bytes were written")
