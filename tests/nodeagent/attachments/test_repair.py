"""Journal, kernel, PodIPs and pods agree again, whichever of them was lost."""

import itertools
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Reason
from openeni_kube.result import Retry
from openeni_nodeagent.attachments import repair
from openeni_nodeagent.attachments.detacher import pod_interface
from openeni_nodeagent.datapath_api import DatapathError, PodNetwork
from openeni_nodeagent.grants import adoption
from openeni_nodeagent.grants.adoption import CONFIRM_SECONDS, NodeObservation, RepairAction
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_nodeagent.reports.podip_body import Difference
from openeni_testing.agent import node_objects
from openeni_testing.agent.clock import Clock
from openeni_testing.agent.memory_datapath import BUSY
from openeni_testing.agent.parts import NODE_FACTS, AgentParts
from openeni_testing.objects import podip_body, remove


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.of(monkeypatch, repair)


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
    fresh.sync()
    return fresh


def looked(parts: AgentParts, clock: Clock, seconds: float = CONFIRM_SECONDS) -> None:
    """Run the repair twice, so far apart."""
    for _ in range(2):
        parts.sync()
        clock.now += seconds


LOSSES = ("journal", "kernel", "podip", "pod", "namespace")


def lose(parts: AgentParts, grant: Grant, what: str) -> None:
    match what:
        case "journal":
            (parts.folder / "journal").unlink()
        case "kernel":
            parts.datapath.lose(grant.addresses[0])
        case "podip":
            remove(parts.store, names.PODIPS, grant.name, "default")
        case "pod":
            parts.store.delete(names.PODS, grant.name, "default")
        case _:
            Path(grant.netns).rename(_gone(grant))


def _gone(grant: Grant) -> Path:
    return Path(f"{grant.netns}.gone")


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
    _gone(grant).rename(grant.netns)  # it is there after all: what was seen does not count
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
    fresh.look()
    others = {fresh.grant(name, name).addresses for name in ("a", "b")}
    assert others == {(a,) for a in node_objects.addresses(3)} - {grant.addresses}
    assert set(parts.datapath.owners().values()) == {"c1", "a", "b"}
    looked(fresh, clock)
    fresh.look()
    assert set(parts.datapath.owners().values()) == {"a", "b"}


def test_of_two_podips_with_one_address_none_is_adopted_until_one_has_gone(
    parts: AgentParts,
) -> None:
    """One may be invented by a stolen token; meanwhile nobody else gets the address."""
    grant = published(parts)
    lose(parts, grant, "journal")
    another = podip_body("another")
    another["spec"]["podUID"] = node_objects.make_pod(parts.store, "another")
    parts.store.create(names.PODIPS, another)
    status = another | {"status": {"hostInterface": grant.host_interface}}
    parts.store.apply(names.PODIPS, status, manager="forger", subresource="status")
    fresh = restarted(parts)
    fresh.look()
    assert fresh.grants.all() == ()
    assert fresh.grants.reserved() == set(grant.addresses)
    remove(parts.store, names.PODIPS, "another", "default")
    fresh.sync()
    fresh.look()
    assert [g.addresses for g in fresh.grants.all()] == [grant.addresses]
    assert [g.addresses for g in fresh.restarted().grants.all()] == [grant.addresses]


def test_a_grant_of_whose_addresses_another_pod_gets_one_meanwhile_is_not_adopted(
    parts: AgentParts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel has lost that one, so that nothing reserves it."""
    node_objects.write_operator_status(parts.store, dual=True)
    parts.sync()
    grant = published(parts)
    lose(parts, grant, "journal")
    parts.datapath.lose(grant.addresses[1])
    fresh = parts.restarted()
    fresh.sync(look=False)
    other = node_objects.granted(Attachment("2", "c2", "eth0"), grant.addresses[1])

    def plan(observed: NodeObservation) -> tuple[RepairAction, ...]:
        planned = adoption.plan_repair(observed)
        fresh.grants.adopt(other)
        return planned

    monkeypatch.setattr(repair, "plan_repair", plan)
    fresh.look()
    assert fresh.grants.all() == (other,)
    assert f"retried: address {grant.addresses[1]} has another owner" in caplog.text


def test_pods_of_an_eni_without_its_nic_are_built_again_once_it_is_there(
    parts: AgentParts, clock: Clock
) -> None:
    grant = published(parts)
    lose(parts, grant, "kernel")
    nics = set(parts.datapath.nics)
    parts.datapath.nics.clear()
    fresh = restarted(parts)
    assert parts.datapath.owners() == {}
    parts.datapath.nics |= nics
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
    assert parts.look() == Retry("the datapath of pod default/web cannot be built again: EPERM")
    assert parts.looks.difference(first.attachment) == Difference(
        Reason.KERNEL_REFUSED, "the pod has no route"
    )
    looked(parts, clock)
    assert set(parts.grants.all()) == {first, second}
    failed = [r.getMessage() for r in caplog.records if "repair failed" in r.getMessage()]
    assert [text.partition(":")[0] for text in failed] == [
        # not before the second look
        "pod default/db (10.98.0.6) has a grant, but neither the pod nor its namespace exists",
    ]
    parts.datapath.refused = ""
    looked(parts, clock)
    assert parts.datapath.owners() == {first.addresses[0]: "c1"}
    assert parts.grants.all() == (first,)


def test_a_pod_is_not_built_again_in_a_namespace_that_only_has_its_path(
    parts: AgentParts, clock: Clock
) -> None:
    grant = published(parts)
    lose(parts, grant, "kernel")
    parts.netns("other").touch()
    parts.netns("other").rename(grant.netns)
    looked(parts, clock)
    assert parts.datapath.owners() == {}
    assert parts.grants.all() == (grant,)


def test_a_grant_whose_add_failed_ends_once_it_can_be_removed(
    parts: AgentParts, clock: Clock
) -> None:
    """Where the runtime sends no DEL."""
    grant = parts.grant("web", "c1", connect=False)
    facts = parts.grants.facts_of(grant)
    assert facts is not None
    parts.datapath.build_fails, parts.datapath.clear_fails = "EPERM", True
    with pytest.raises(DatapathError) as raised:
        parts.datapath.add(pod_interface(grant, facts), grant.netns)
    assert raised.value.left_behind
    looked(parts, clock)
    assert parts.grants.all() == (grant,)
    parts.datapath.clear_fails = False
    parts.look()
    assert parts.grants.all() == ()
    assert parts.datapath.ended[-1] == ("c1", grant.netns)
    assert parts.datapath.owners() == {}


def test_a_grant_that_is_connected_meanwhile_does_not_end(parts: AgentParts) -> None:
    planned = parts.grant("web", "c1", connect=False)
    parts.grants.mark_connected(planned, PodNetwork("oec1", "", "", (), (), {}))
    parts.detacher.end(planned, EndReason.NEVER_CONNECTED)
    assert [g.attachment for g in parts.grants.all()] == [planned.attachment]


def test_what_a_removal_has_left_is_removed_without_the_api_server(
    parts: AgentParts, caplog: pytest.LogCaptureFixture
) -> None:
    grant = parts.grant("web", "c1")
    parts.grants.end_grant(grant, EndReason.DELETED)
    parts.datapath.clear_fails = True
    parts.looks.first_look(NODE_FACTS)
    assert parts.looks.look() == Retry(BUSY)
    assert f"repaired: {grant.addresses[0]} had a route" in caplog.text
    assert parts.grants.reserved() == set(grant.addresses)
    parts.datapath.clear_fails = False
    for _ in range(2):
        parts.looks.look()
    assert parts.datapath.owners() == {}
    assert parts.grants.reserved() == frozenset()


def test_the_address_of_a_lost_grant_cools_down_once_it_is_removed(
    parts: AgentParts, clock: Clock
) -> None:
    grant = published(parts)
    for what in ("journal", "podip", "pod"):
        lose(parts, grant, what)
    fresh = restarted(parts)
    looked(fresh, clock)
    looked(fresh, clock)
    assert parts.datapath.owners() == {}
    assert fresh.grants.reserved() == frozenset()
    counts = fresh.grants.acknowledge("pods-0")
    assert counts is not None
    assert (counts[1].cooling, counts[1].available) == (1, 2)
    assert fresh.restarted().journal.state.cooling_until.keys() == set(grant.addresses)
