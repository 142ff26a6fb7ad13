"""Journal, kernel, PodIPs and pods agree again, whichever of them was lost."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from openeni_crds import names
from openeni_nodeagent.attachments import repair
from openeni_nodeagent.grants.adoption import CONFIRM_SECONDS
from openeni_nodeagent.grants.ledger import Grant
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts
from openeni_testing.objects import podip_body, remove


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
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects()
    return made


def published(parts: AgentParts, name: str = "web", container: str = "c1") -> Grant:
    """A pod that runs, and that its PodIP names."""
    grant = parts.grant(name, container)
    parts.publisher.reconcile(f"default/{name}")
    parts.sync()
    return grant


def restarted(parts: AgentParts) -> AgentParts:
    """Start the next process, up to where the caches have synced."""
    fresh = parts.restarted()
    fresh.repair.reserve()
    fresh.sync()
    return fresh


def looked(parts: AgentParts, clock: Clock, seconds: float = CONFIRM_SECONDS) -> None:
    """Run the repair twice, so far apart."""
    for _ in range(2):
        parts.sync()
        parts.repair.run()
        clock.now += seconds


LOSSES = ("journal", "kernel", "podip", "pod", "namespace")


def lose(parts: AgentParts, grant: Grant, what: str) -> None:
    match what:
        case "journal":
            (parts.folder / "journal").unlink()
        case "kernel":
            parts.datapath.delete_address(grant.addresses[0])
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
def test_whatever_is_lost_kernel_and_grants_agree_in_the_end(
    parts: AgentParts, clock: Clock, lost: tuple[str, ...]
) -> None:
    grant = published(parts)
    for what in lost:
        lose(parts, grant, what)
    fresh = restarted(parts)
    looked(fresh, clock)
    looked(fresh, clock)  # what one run removes from the kernel, the next does not find
    (address,) = grant.addresses
    owners, grants = parts.datapath.owners(), fresh.grants.all()
    granted = {a for g in grants for a in g.addresses}
    assert set(owners) <= granted
    assert fresh.grants.reserved() == frozenset()
    provable = "journal" not in lost or not {"podip", "kernel"} & set(lost)
    if not {"pod", "namespace"} & set(lost) and provable:
        assert owners == {address: "c1"}
    if {"pod", "namespace"} <= set(lost) and "journal" not in lost:
        assert (owners, grants) == ({}, ())
    assert parts.datapath.wrong == []


def test_a_grant_ends_only_when_nothing_of_its_pod_is_seen_twice_apart(
    parts: AgentParts, clock: Clock
) -> None:
    grant = published(parts)
    lose(parts, grant, "pod")
    lose(parts, grant, "namespace")
    looked(parts, clock, CONFIRM_SECONDS / 2)
    assert parts.grants.all() == (grant,)
    Path(grant.netns).touch()  # it is there after all: what was seen before does not count
    looked(parts, clock, 1)
    lose(parts, grant, "namespace")
    looked(parts, clock, CONFIRM_SECONDS / 2)
    assert parts.grants.all() == (grant,)
    looked(parts, clock, 1)
    assert parts.grants.all() == ()


def test_an_address_in_the_kernel_without_an_owner_is_reserved_and_then_removed(
    parts: AgentParts, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    grant = published(parts)
    for what in ("journal", "podip", "pod"):
        lose(parts, grant, what)
    fresh = restarted(parts)
    assert fresh.grants.reserved() == frozenset(grant.addresses)
    assert f"addresses {grant.addresses[0]} are in the kernel without a grant" in caplog.text
    fresh.repair.run()
    others = {fresh.grant(name, name).addresses for name in ("a", "b")}
    assert others == {(a,) for a in node_objects.addresses(3)} - {grant.addresses}
    assert set(parts.datapath.owners().values()) == {"c1", "a", "b"}
    looked(fresh, clock)
    assert set(parts.datapath.owners().values()) == {"a", "b"}


def test_of_two_podips_with_one_address_none_is_adopted_until_one_has_gone(
    parts: AgentParts,
) -> None:
    """One may be invented by a stolen token; meanwhile nobody else gets the address."""
    grant = published(parts)
    lose(parts, grant, "journal")
    parts.store.create(names.PODIPS, podip_body("another"))
    fresh = restarted(parts)
    fresh.repair.run()
    assert fresh.grants.all() == ()
    assert fresh.grants.reserved() == set(grant.addresses)
    remove(parts.store, names.PODIPS, "another", "default")
    fresh.sync()
    fresh.repair.run()
    assert [g.addresses for g in fresh.grants.all()] == [grant.addresses]
    assert [g.addresses for g in fresh.restarted().grants.all()] == [grant.addresses]


def test_grants_of_an_eni_without_a_ready_link_are_not_repaired(
    parts: AgentParts, clock: Clock
) -> None:
    grant = published(parts)
    lose(parts, grant, "kernel")
    fresh = parts.restarted()
    fresh.repair.reserve()
    fresh.repair.run()
    assert parts.datapath.owners() == {}
    looked(fresh, clock)
    assert parts.datapath.owners() == {grant.addresses[0]: "c1"}


def test_a_repair_that_the_kernel_refuses_is_logged_and_delays_no_other(
    parts: AgentParts, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = published(parts), published(parts, "db", "c2")
    lose(parts, first, "kernel")
    for what in ("pod", "namespace"):
        lose(parts, second, what)
    parts.datapath.refused = "EPERM"
    looked(parts, clock)
    assert set(parts.grants.all()) == {first, second}
    failed = [r.getMessage() for r in caplog.records if "repair failed" in r.getMessage()]
    assert [text.partition(":")[0] for text in failed] == [
        "pod default/web (10.98.0.5) has a grant but no datapath",
        "pod default/web (10.98.0.5) has a grant but no datapath",
        # not before the second look
        "pod default/db (10.98.0.6) has a grant, but neither the pod nor its namespace exists",
    ]
    parts.datapath.refused = ""
    looked(parts, clock)
    assert parts.datapath.owners() == {first.addresses[0]: "c1"}
    assert parts.grants.all() == (first,)
