"""Read the agents' log of grants (docs/grant-log.md). Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as field_of
from typing import Final

import msgspec
from msgspec import Struct, field

BEGAN: Final = frozenset({"GrantBegan", "GrantAdopted"})
ENDED: Final = "GrantEnded"
LOST: Final = "LinesLost"


class GrantLine(Struct, frozen=True, rename="camel"):
    """One line; `lines` is how many were lost, with the event LinesLost."""

    event: str
    time: str
    node: str = ""
    namespace: str = ""
    pod: str = ""
    pod_uid: str = field(name="podUID", default="")
    container_id: str = field(name="containerID", default="")
    interface: str = ""
    eni: str = ""
    port: str = ""
    pool: str = ""
    addresses: tuple[str, ...] = ()
    reason: str = ""
    began: str = ""
    lines: int = 0


class Holder(Struct, frozen=True, rename="camel"):
    """A pod that had an address from `began` to `ended`, RFC 3339; "" where it is not known."""

    namespace: str
    pod: str
    pod_uid: str = field(name="podUID")
    node: str
    eni: str
    pool: str
    port: str = ""
    container_id: str = field(name="containerID", default="")
    addresses: tuple[str, ...] = ()
    began: str = ""
    ended: str = ""
    end_reason: str = ""


@dataclass(frozen=True)
class GrantHistory:
    """The holders of one address, the first one first."""

    holders: tuple[Holder, ...] = ()
    begins: Mapping[str, str] = field_of(default_factory=dict[str, str])  # of a node's log, by node
    lost: tuple[GrantLine, ...] = ()


def parse_lines(texts: Iterable[str]) -> Iterator[GrantLine]:
    """Yield the lines of grants; other lines, and what stands before the JSON, are passed over."""
    for text in texts:
        start = text.find("{")
        if start < 0:
            continue
        try:
            line = msgspec.json.decode(text[start:], type=GrantLine)
        except (msgspec.DecodeError, msgspec.ValidationError):
            continue
        if line.event in BEGAN or line.event in {ENDED, LOST}:
            yield line


def history_of(
    address: str, lines: Iterable[GrantLine], begins: Mapping[str, str] | None = None
) -> GrantHistory:
    """Return who had the address. Lines may come in any order, and from many nodes.

    `begins` are nodes whose log may be empty, with the earliest time that it could be about.
    """
    first, lost, found = dict[str, str](), list[GrantLine](), list[GrantLine]()
    for line in lines:
        first[line.node] = min(first.get(line.node, line.time), line.time)
        if line.event == LOST:
            lost.append(line)
        elif address in line.addresses:
            found.append(line)
    return GrantHistory(tuple(holders(found)), {**(begins or {}), **first}, tuple(lost))


def holders(lines: Iterable[GrantLine]) -> list[Holder]:
    """Return a holder for each grant, by the time at which it began."""
    beginnings: dict[tuple[str, str, str], GrantLine] = {}
    finished: list[Holder] = []
    for line in sorted(lines, key=lambda each: each.time):
        key = (line.node, line.container_id, line.interface)
        if line.event in BEGAN:
            beginnings.setdefault(key, line)
        else:
            begun = beginnings.pop(key, None)
            finished.append(_holder(line, begun.time if begun else line.began, line))
    finished += (_holder(line, line.time, None) for line in beginnings.values())
    return sorted(finished, key=lambda each: each.began)


def _holder(line: GrantLine, began: str, end: GrantLine | None) -> Holder:
    return Holder(
        namespace=line.namespace,
        pod=line.pod,
        pod_uid=line.pod_uid,
        node=line.node,
        eni=line.eni,
        pool=line.pool,
        port=line.port,
        container_id=line.container_id,
        addresses=line.addresses,
        began=began,
        ended=end.time if end else "",
        end_reason=end.reason if end else "",
    )
