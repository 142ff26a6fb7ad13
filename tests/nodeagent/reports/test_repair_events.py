"""What others change again and again is told on the Node, with what is known to do that."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.meta import ObjectMeta
from openeni_nodeagent.datapath_api import REPAIR_KINDS, Repair
from openeni_nodeagent.reports import repair_events
from openeni_nodeagent.reports.repair_events import (
    APART_SECONDS,
    TIMES,
    WINDOW_SECONDS,
    RepairEvents,
    RepeatedRepairs,
)
from openeni_testing.controller.recorded_events import RecordedEvents

RULE = Repair("rule", "IPv4 rule 500 lookup 9999 is missing")
LATER_RULE = Repair("rule", "IPv4 rule 600 lookup 10003 is missing")
CHAIN = Repair("chain", "nftables chain inet forward is missing")
NODE = ObjectMeta(name="n1", uid="7")


def repeated(times: Sequence[float], repair: Repair = RULE) -> list[bool]:
    made = RepeatedRepairs()
    return [bool(made.observe([repair], at)) for at in times]


def test_the_third_time_within_ten_minutes_is_repeated_and_those_after_it() -> None:
    assert repeated([0, 100, 200, 300]) == [False, False, True, True]


def test_looks_that_follow_each_other_are_one_time() -> None:
    assert repeated([0, 1, 2, APART_SECONDS - 1]) == [False] * 4
    assert repeated([0, 1, APART_SECONDS, APART_SECONDS + 1, 2 * APART_SECONDS]) == [
        *([False] * 4),
        True,
    ]


def test_what_happens_now_and_then_is_not_repeated() -> None:
    assert not any(repeated([n * WINDOW_SECONDS for n in range(10)]))


def test_kinds_are_told_apart_and_named_by_the_first_of_their_texts() -> None:
    made = RepeatedRepairs()
    for at in (0, 100, 200):
        found = made.observe([LATER_RULE, RULE, *([CHAIN] if at else [])], at)
    assert found == {"rule": RULE.text}


@given(st.lists(st.floats(0, 5000), max_size=40), st.sampled_from(REPAIR_KINDS))
def test_it_is_repeated_only_if_there_were_so_many_times_within_the_window(
    times: list[float], kind: str
) -> None:
    ordered = sorted(times)
    for n, found in enumerate(repeated(ordered, Repair(kind, "x"))):
        recent = [at for at in ordered[: n + 1] if ordered[n] - at <= WINDOW_SECONDS]
        assert not found or len(recent) >= TIMES
        if found:
            assert ordered[n] - recent[0] >= APART_SECONDS


@pytest.mark.parametrize("kind", REPAIR_KINDS)
def test_each_kind_is_told_on_the_node_with_its_likely_cause(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(repair_events, "time", SimpleNamespace(monotonic=lambda: clock.now))
    events = RecordedEvents()
    node: list[ObjectMeta] = []
    made = RepairEvents(events, lambda: node[0] if node else None)
    for _ in range(TIMES):
        made.note([Repair(kind, "one of them is missing")])
        clock.now += APART_SECONDS
    assert events.events == []  # the Node is not known yet
    node.append(NODE)
    for text in ("one of them is missing", "another is missing"):
        made.note([Repair(kind, text)])
        clock.now += APART_SECONDS
    first, second = events.events
    assert first == second  # one series, whichever is missing
    assert (first.reason, first.regarding.name, first.regarding.uid) == (
        *("RepairsRepeated", "n1", "7"),
    )
    assert first.action == f"Restore{kind.capitalize()}"
    assert "one of them is missing" in first.note
    assert "Likely: " in first.note
    made.note([])
    assert len(events.events) == 2


def test_flushed_rules_point_to_networkds_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(repair_events, "time", SimpleNamespace(monotonic=lambda: clock.now))
    events = RecordedEvents()
    made = RepairEvents(events, lambda: NODE)
    for _ in range(TIMES):
        made.note([RULE, CHAIN])
        clock.now += APART_SECONDS
    rules, chains = sorted(events.events, key=lambda e: e.action, reverse=True)
    assert rules != chains  # two series
    assert "ManageForeignRoutingPolicyRules=no" in rules.note
    assert RULE.text in rules.note
    assert "nft flush ruleset" in chains.note
