"""Answer whose an address is, or was at a time. Pure."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from openeni_cli.grant_log import GrantHistory, GrantLine, Holder
from openeni_cli.times import parse
from openeni_crds.conditions import Type, is_true
from openeni_crds.eni import ENI
from openeni_crds.podip import PodIP

EMPTY: Final = "the log has no line about grants: look in another one (--log)"
NOTHING: Final = (
    "the log has no line about this address; a grant that began before the log and goes on would "
    "not be in it: look in an older one (--log)"
)
MOST_NODES: Final = 3  # named in a note


class Verdict(StrEnum):
    """What is known about the address."""

    POD = "Pod"  # a pod has it, or had it
    RETAINED = "Retained"  # it is kept for the next pod of a name
    NODE = "Node"  # it is an ENI's primary address, which its node has
    FREE = "Free"  # it is on an ENI, and no pod has it
    NOBODY = "Nobody"  # nothing of openeni's has it, or had it
    UNKNOWN = "Unknown"  # the log does not go back so far


class WhoisReport(Struct, frozen=True, rename="camel"):
    """Whose an address is; `history` is what the log has about it."""

    address: str
    at: str  # RFC 3339; "" for now
    verdict: Verdict
    holder: Holder | None
    notes: tuple[str, ...] = ()
    history: tuple[Holder, ...] = ()


def answer_now(address: str, podips: Iterable[PodIP], enis: Iterable[ENI]) -> WhoisReport:
    """Return whose the address is now, by the objects of the API."""
    holding = next((p for p in podips if address in p.spec.addresses), None)
    eni = next((e for e in enis if address in _all_addresses(e)), None)
    port = eni.status.port.id if eni and eni.status.port else ""
    if holding is not None:
        kept = is_true(holding.status.conditions, Type.RETAINED)
        verdict = Verdict.RETAINED if kept else Verdict.POD
        return WhoisReport(address, "", verdict, holder_of(holding, port))
    if eni is None:
        note = "no PodIP and no ENI has it; --history asks the agents' log about the past"
        return WhoisReport(address, "", Verdict.NOBODY, None, (note,))
    primary = eni.status.port is not None and address in eni.status.port.primary
    verdict = Verdict.NODE if primary else Verdict.FREE
    note = (
        "the ENI's primary address, which stays on the node"
        if primary
        else "no PodIP names it: it is free, cools down, or its PodIP is not published yet"
    )
    return WhoisReport(address, "", verdict, _of_eni(eni, port), (note,))


def holder_of(podip: PodIP, port: str = "") -> Holder:
    """Return the pod of a PodIP; its grant began at most a moment before the PodIP was made."""
    return Holder(
        namespace=podip.namespace,
        pod=podip.name,
        pod_uid=podip.spec.pod_uid,
        node=podip.spec.node_name,
        eni=podip.spec.eni_name,
        pool=podip.spec.pool_name,
        port=port,
        container_id=podip.spec.container_id,
        addresses=podip.spec.addresses,
        began=podip.metadata.creation_timestamp,
    )


def is_older(podip: PodIP, at: datetime) -> bool:
    """Return True if the PodIP was there at that time, and so nobody else had its addresses."""
    created = parse(podip.metadata.creation_timestamp)
    return created is not None and created <= at


def answer_by_podip(address: str, at: datetime, podip: PodIP) -> WhoisReport:
    """Return whose the address was at a time by a PodIP that was there."""
    text = at.isoformat().replace("+00:00", "Z")
    if not podip.is_retained:
        return WhoisReport(address, text, Verdict.POD, holder_of(podip))
    note = "a pod of this name had it, or it was kept for the next one: the log does not tell"
    return WhoisReport(address, text, Verdict.RETAINED, holder_of(podip), (note,))


def answer_at(
    address: str, at: datetime, history: GrantHistory, *, podips_known: bool
) -> WhoisReport:
    """Return whose the address was at a time, by the log.

    A grant that began before the log and goes on is not in it. It has a PodIP: `podips_known` says
    that none has the address since before that time.
    """
    text = at.isoformat().replace("+00:00", "Z")
    notes = [_lost(line) for line in history.lost]
    before = [h for h in history.holders if _is_before(h.began, at)]
    holder = before[-1] if before else None
    if holder is not None and _still_had_it(holder, at):
        if not holder.ended:
            notes.insert(0, "the log has no end of this grant: it lasts, or ended with the node")
        return WhoisReport(address, text, Verdict.POD, holder, tuple(notes), history.holders)
    if (
        gap := _gap(history, parse(holder.ended) if holder else None, at, podips_known)
    ) is not None:
        notes.insert(0, gap)
        return WhoisReport(address, text, Verdict.UNKNOWN, None, tuple(notes), history.holders)
    if holder is not None:
        notes.insert(0, f"{holder.namespace}/{holder.pod} had it until {holder.ended}")
    return WhoisReport(address, text, Verdict.NOBODY, None, tuple(notes), history.holders)


def answer_history(address: str, history: GrantHistory) -> WhoisReport:
    """Return everything that the log has about the address."""
    notes = tuple(map(_lost, history.lost))
    last = history.holders[-1] if history.holders else None
    current = last if last is not None and not last.ended else None
    if not history.begins:
        verdict = Verdict.UNKNOWN
        notes = (EMPTY, *notes)
    else:
        verdict = Verdict.POD if current else Verdict.NOBODY
    return WhoisReport(address, "", verdict, current, notes, history.holders)


def _gap(
    history: GrantHistory, ended: datetime | None, at: datetime, podips_known: bool
) -> str | None:
    """Return why the log cannot tell that nobody had the address; None if it can.

    It can if it goes back far enough on every node: to the end of the last grant before `at`.
    """
    if not history.begins:
        return EMPTY
    if not history.holders and not podips_known:
        return NOTHING
    since = ended or at
    late = sorted(node for node, begin in history.begins.items() if not _is_before(begin, since))
    if not late:
        return None
    more = f" and {len(late) - MOST_NODES} more" if len(late) > MOST_NODES else ""
    return (
        f"the log of {', '.join(late[:MOST_NODES])}{more} begins later, and a pod there may have "
        "had it: look in an older one (--log)"
    )


def _of_eni(eni: ENI, port: str) -> Holder:
    return Holder(
        namespace="",
        pod="",
        pod_uid="",
        node=eni.spec.node_name,
        eni=eni.name,
        pool=eni.spec.pool_name,
        port=port,
    )


def _all_addresses(eni: ENI) -> tuple[str, ...]:
    port = eni.status.port
    return (*port.primary, *port.addresses, *port.releasing) if port else ()


def _is_before(text: str, at: datetime) -> bool:
    """Return whether a time is not after `at`; a beginning that is not known is before all."""
    found = parse(text)
    return not text or (found is not None and found <= at)


def _still_had_it(holder: Holder, at: datetime) -> bool:
    ended = parse(holder.ended)
    return ended is None or at < ended


def _lost(line: GrantLine) -> str:
    return (
        f"{line.lines} lines of node {line.node} were lost before {line.time}: one of them may be "
        "about this address"
    )
