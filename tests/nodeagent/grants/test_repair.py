"""Journal, kernel, PodIPs and pods come together again, whatever of them was lost."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from openeni_crds import names
from openeni_nodeagent.grants import repair
from openeni_nodeagent.grants.adoption import APART_SECONDS
from openeni_nodeagent.grants.ledger import Grant
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import NodeParts
from openeni_testing.objects import remove


@dataclass
class Clock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(repair, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


@pytest.fixture
def parts(tmp_path: Path) -> NodeParts:
    made = NodeParts(tmp_path)
    made.furnish()
    return made


def published(parts: NodeParts, name: str = "web", container: str = "c1") -> Grant:
    """A pod that runs, and that its PodIP names."""
    grant = parts.grant(name, container)
    parts.publisher.reconcile(f"default/{name}")
    parts.look()
    return grant


def restarted(parts: NodeParts) -> NodeParts:
    """The next process, up to where the caches are filled."""
    fresh = parts.again()
    fresh.repair.reserve()
    fresh.look()
    return fresh


def looked(parts: NodeParts, clock: Clock, seconds: float = APART_SECONDS) -> None:
    """Two looks that are so far apart."""
    for _ in range(2):
        parts.look()
        parts.repair.look()
        clock.now += seconds


LOSSES = ("journal", "kernel", "podip", "pod", "namespace")


def lose(parts: NodeParts, grant: Grant, what: str) -> None:
    match what:
        case "journal":
            (parts.folder / "journal").unlink()
        case "kernel":
            parts.wiring.delete_address(grant.addresses[0])
        case "podip":
            remove(parts.store, names.PODIPS, grant.name, "default")
        case "pod":
            parts.store.delete(names.PODS, grant.name, "default")
        case _:
            Path(grant.netns).unlink()


@pytest.mark.parametrize(
    "lost",
    [c for n in range(len(LOSSES) + 1) for c in itertools.combinations(LOSSES, n)],
    ids=lambda lost: "+".join(lost) or "nothing",
)
def test_whatever_was_lost_kernel_and_grants_agree_in_the_end(
    parts: NodeParts, clock: Clock, lost: tuple[str, ...]
) -> None:
    grant = published(parts)
    for what in lost:
        lose(parts, grant, what)
    fresh = restarted(parts)
    looked(fresh, clock)
    looked(fresh, clock)  # what it took out of the kernel, the next look does not find
    (address,) = grant.addresses
    owners, grants = parts.wiring.owners(), fresh.grants.all()
    granted = {a for g in grants for a in g.addresses}
    assert set(owners) <= granted
    assert fresh.grants.reserved() == frozenset()
    provable = "journal" not in lost or not {"podip", "kernel"} & set(lost)
    if not {"pod", "namespace"} & set(lost) and provable:
        assert owners == {address: "c1"}
    if {"pod", "namespace"} <= set(lost) and "journal" not in lost:
        assert (owners, grants) == ({}, ())
    assert parts.wiring.wrong == []


def test_a_grant_ends_only_when_nothing_of_its_pod_is_seen_twice_apart(
    parts: NodeParts, clock: Clock
) -> None:
    grant = published(parts)
    lose(parts, grant, "pod")
    lose(parts, grant, "namespace")
    looked(parts, clock, APART_SECONDS / 2)
    assert parts.grants.all() == (grant,)
    Path(grant.netns).touch()  # it is there after all: what was seen before does not count
    looked(parts, clock, 1)
    lose(parts, grant, "namespace")
    looked(parts, clock, APART_SECONDS / 2)
    assert parts.grants.all() == (grant,)
    looked(parts, clock, 1)
    assert parts.grants.all() == ()


def test_what_the_kernel_carries_for_nobody_is_kept_back_then_taken_out(
    parts: NodeParts, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    grant = published(parts)
    for what in ("journal", "podip", "pod"):
        lose(parts, grant, what)
    fresh = restarted(parts)
    assert fresh.grants.reserved() == frozenset(grant.addresses)
    assert f"carried by the kernel without a grant: {grant.addresses[0]}" in caplog.text
    fresh.repair.look()
    others = {fresh.grant(name, name).addresses for name in ("a", "b")}
    assert others == {(a,) for a in node_objects.addresses(3)} - {grant.addresses}
    assert set(parts.wiring.owners().values()) == {"c1", "a", "b"}
    looked(fresh, clock)
    assert set(parts.wiring.owners().values()) == {"a", "b"}


def test_an_eni_that_is_not_prepared_yet_is_not_judged(parts: NodeParts, clock: Clock) -> None:
    grant = published(parts)
    lose(parts, grant, "kernel")
    fresh = parts.again()
    fresh.repair.reserve()
    fresh.repair.look()
    assert parts.wiring.owners() == {}
    looked(fresh, clock)
    assert parts.wiring.owners() == {grant.addresses[0]: "c1"}


def test_a_repair_that_the_kernel_refuses_is_logged_and_holds_up_no_other(
    parts: NodeParts, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = published(parts), published(parts, "db", "c2")
    lose(parts, first, "kernel")
    for what in ("pod", "namespace"):
        lose(parts, second, what)
    parts.wiring.refused = "EPERM"
    looked(parts, clock)
    assert set(parts.grants.all()) == {first, second}
    failed = [r.getMessage() for r in caplog.records if " failed: " in r.getMessage()]
    assert [text.split("(")[0] for text in failed] == [
        "repair of Reconnect",
        "repair of Reconnect",
        "repair of End",  # not before the second look
    ]
    parts.wiring.refused = ""
    looked(parts, clock)
    assert parts.wiring.owners() == {first.addresses[0]: "c1"}
    assert parts.grants.all() == (first,)


def test_it_asks_to_look_again_by_itself(parts: NodeParts) -> None:
    assert parts.repair.look() == repair.PERIOD_SECONDS
