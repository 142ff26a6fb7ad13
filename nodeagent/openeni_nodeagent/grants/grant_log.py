"""The log of grants: one line of JSON for the beginning of each and one for its end.

It answers which pod had an address at a given time, long after pod and PodIP are gone. The lines
are collected here and written by another thread, so that no ADD or DEL waits for a log that is not
read; the collection is bounded, and lines that did not fit are counted in a line of their own.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

import msgspec

from openeni_kube.clock import boot_seconds, timestamp
from openeni_nodeagent.grants.grant import Grant

LOGGER: Final = "openeni.grants"
MOST_LINES: Final = 4096  # that are not written yet
_LONGEST_TEXT: Final = 256  # characters of one field; a pod's name has 253 at most


class EndReason(StrEnum):
    """Why a grant ended."""

    DELETED = "Deleted"  # the runtime's DEL
    ADD_FAILED = "AddFailed"  # and left nothing in the kernel
    GARBAGE_COLLECTED = "GarbageCollected"  # the runtime's GC did not list the container
    POD_GONE = "PodGone"  # and its namespace, without a DEL
    NEVER_CONNECTED = "NeverConnected"  # an ADD failed, and no DEL followed


class _Entry(NamedTuple):
    event: str
    at: float  # boot clock
    grant: Grant
    reason: EndReason | None  # why it ended


class GrantLog:
    """Safe for several threads."""

    def __init__(self, node: str, write: Callable[[str], None] | None = None) -> None:
        """Write each line by `write`: the logger, unless a test says otherwise."""
        self.cluster = ""  # UID of the namespace kube-system, once it is known
        self._node = node
        self._write = write or logging.getLogger(LOGGER).info
        self._lock = threading.Lock()
        self._entries: deque[_Entry] = deque()
        self._lost = 0

    def began(self, grant: Grant) -> None:
        self._add("GrantBegan", grant)

    def adopted(self, grant: Grant) -> None:
        """Note a grant that began earlier and whose record was lost."""
        self._add("GrantAdopted", grant)

    def ended(self, grant: Grant, reason: EndReason) -> None:
        self._add("GrantEnded", grant, reason)

    def pending(self) -> int:
        """Return how many lines are not written yet."""
        with self._lock:
            return len(self._entries)

    def flush(self) -> None:
        """Write a line for each event that was collected."""
        while (line := self._take()) is not None:
            self._write(msgspec.json.encode(line).decode())

    def _add(self, event: str, grant: Grant, reason: EndReason | None = None) -> None:
        with self._lock:
            if len(self._entries) >= MOST_LINES:
                self._lost += 1
            else:
                self._entries.append(_Entry(event, boot_seconds(), grant, reason))

    def _take(self) -> dict[str, object] | None:
        with self._lock:
            entry = self._entries.popleft() if self._entries else None
            lost = 0 if entry else self._lost
            self._lost -= lost
        if entry:
            return self._line(entry)
        if not lost:
            return None
        return {"event": "LinesLost", "time": timestamp(), "node": self._node, "lines": lost}

    def _line(self, entry: _Entry) -> dict[str, object]:
        grant, attachment = entry.grant, entry.grant.attachment
        texts = {
            "event": entry.event,
            "time": timestamp(entry.at - boot_seconds()),
            "cluster": self.cluster,
            "node": self._node,
            "namespace": grant.namespace,
            "pod": grant.name,
            "podUID": grant.api_uid or attachment.pod_uid,
            "containerID": attachment.container_id,
            "interface": attachment.interface,
            "eni": grant.eni,
            "port": grant.port,
            "pool": grant.pool,
        }
        bounded: dict[str, object] = {key: text[:_LONGEST_TEXT] for key, text in texts.items()}
        line = bounded | {"addresses": grant.addresses}
        if entry.reason is None:
            return line
        began = {"began": timestamp(grant.at - boot_seconds())} if grant.at else {}
        return line | {"reason": entry.reason} | began
