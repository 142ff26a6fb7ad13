"""What the agent must still know when it is started again on a node that kept running.

Append-only records on a tmpfs, one line each with a checksum. A reboot ends every pod, so the file
may die with it and nothing is fsynced; where the folder outlives a boot after all, the boot's id
in the first record tells, and an older boot's journal is dropped. Cool-downs are kept as
CLOCK_BOOTTIME, which a restart of the agent and a jump of the wall clock leave alone.
"""

import contextlib
import errno
import os
import threading
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from openeni_nodeagent.datapath_api import EniFacts, NodeFacts
from openeni_nodeagent.grants.ledger import Grant

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_COMPACT_ABOVE: Final = 512  # records; a node's whole state is some 300


class Boot(Struct, frozen=True, tag="boot"):
    boot_id: str


class Granted(Struct, frozen=True, tag="granted"):
    """A grant, before the kernel knows of it; and again when its datapath stands."""

    grant: Grant


class Freed(Struct, frozen=True, tag="freed"):
    """The end of a grant, after the kernel has let go of it."""

    container_id: str
    interface: str
    rested: dict[str, float]


class Rested(Struct, frozen=True, tag="rested"):
    """Cool-downs alone: what compaction leaves of Freed."""

    addresses: dict[str, float]


class NodeSeen(Struct, frozen=True, tag="node"):
    facts: NodeFacts


class EniSeen(Struct, frozen=True, tag="eni"):
    """An ENI's facts, written before the first grant of it: a DEL needs them without the API."""

    facts: EniFacts


class EniForgotten(Struct, frozen=True, tag="eni-gone"):
    name: str


JournalRecord: TypeAlias = Boot | Granted | Freed | Rested | NodeSeen | EniSeen | EniForgotten
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(JournalRecord)


@dataclass
class JournalState:
    """The journal's sum."""

    boot_id: str = ""
    node: NodeFacts | None = None
    enis: dict[str, EniFacts] = field(default_factory=dict[str, EniFacts])
    grants: dict[tuple[str, str], Grant] = field(default_factory=dict[tuple[str, str], Grant])
    rested: dict[str, float] = field(default_factory=dict[str, float])
    damaged: int = 0  # records in the middle that cannot be read: the kernel must be asked

    def take(self, record: JournalRecord) -> None:
        match record:
            case Boot(boot_id):
                self.boot_id = boot_id
            case Granted(grant):
                self.grants[grant.holder.container_id, grant.holder.interface] = grant
            case Freed(container_id, interface, rested):
                self.grants.pop((container_id, interface), None)
                self.rested.update(rested)
            case Rested(addresses):
                self.rested.update(addresses)
            case NodeSeen(facts):
                self.node = facts
            case EniSeen(eni):
                self.enis[eni.name] = eni
            case EniForgotten(name):
                self.enis.pop(name, None)

    def records(self) -> tuple[JournalRecord, ...]:
        """The shortest journal that sums up to this."""
        node = (NodeSeen(self.node),) if self.node else ()
        return (
            Boot(self.boot_id),
            *node,
            *(EniSeen(eni) for eni in self.enis.values()),
            *((Rested(self.rested),) if self.rested else ()),
            *(Granted(grant) for grant in self.grants.values()),
        )


def encode(record: JournalRecord) -> bytes:
    """One line: checksum, space, JSON."""
    body = _encoder.encode(record)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> JournalRecord | None:
    """Return the record of a whole line without its end, or None where it is damaged."""
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        record: JournalRecord = _decoder.decode(body)
    except msgspec.MsgspecError:
        return None
    return record


def replay(content: bytes) -> JournalState:
    """Sum up a journal's bytes.

    What cannot be read at the very end is a torn write and passed over; before that it is counted.
    """
    known = JournalState()
    broken = 0
    for line in content.splitlines(keepends=True):
        record = decode(line[:-1]) if line.endswith(b"\n") else None
        if record is None:
            broken += 1
            continue
        known.damaged += broken
        broken = 0
        known.take(record)
    return known


class Journal:
    """The file. Safe for several threads."""

    def __init__(self, path: Path, boot_id: str) -> None:
        """Read the file, or begin one. Raises OSError."""
        self._path = path
        self._lock = threading.Lock()
        content = path.read_bytes() if path.exists() else b""
        known = replay(content)
        if known.boot_id != boot_id:
            known = JournalState(boot_id=boot_id)
        self.state = known
        self._file = -1
        self._size = 0
        self._records = 0
        self._rewrite()

    def append(self, *records: JournalRecord) -> None:
        """Write records in one piece. Raises OSError, and then none of them is in the file."""
        line = b"".join(encode(record) for record in records)
        with self._lock:
            try:
                _write(self._file, line)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._size)
                raise
            self._size += len(line)
            self._records += len(records)
            for record in records:
                self.state.take(record)

    def compact(self) -> bool:
        """Rewrite the file when it has grown long; off the path of any pod. Raises OSError."""
        with self._lock:
            if self._records <= _COMPACT_ABOVE:
                return False
            self._rewrite()
            return True

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _rewrite(self) -> None:
        records = self.state.records()
        content = b"".join(encode(record) for record in records)
        fresh = self._path.with_name(self._path.name + ".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        file = os.open(fresh, flags, 0o600)
        try:
            _write(file, content)
            fresh.rename(self._path)
        except OSError:
            os.close(file)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._records = file, len(content), len(records)


def _write(file: int, content: bytes) -> None:
    written = os.write(file, content)
    if written != len(content):
        raise OSError(errno.ENOSPC, f"only {written} of {len(content)} bytes were written")
