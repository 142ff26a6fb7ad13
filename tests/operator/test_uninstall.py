"""Helm's pre-delete hook: what it refuses, what it waits for, and what it says."""

from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from openeni_crds.meta import Json
from openeni_crds.names import (
    ENIPOOLS,
    ENIS,
    LABEL_VETH,
    NODES,
    PODIPS,
    TAINT_AGENT_NOT_READY,
    Kind,
)
from openeni_kube.store import NotFoundError, Page, Store, UnreachableError
from openeni_operator.uninstall import LOOK_SECONDS, WAIT_SECONDS, Remains, observe, wait


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps = 0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1


def run(clock: Clock, looks: Sequence[Remains | Exception]) -> int:
    """Run the hook; it sees the last of `looks` for ever."""
    seen: Iterator[Remains | Exception] = iter(looks)
    last = [looks[-1]]

    def look() -> Remains:
        found = next(seen, last[0])
        if isinstance(found, Exception):
            raise found
        return found

    return wait(look, clock, clock.sleep)


def test_where_nothing_is_left_it_ends_at_once() -> None:
    clock = Clock()
    assert run(clock, [Remains()]) == 0
    assert clock.sleeps == 0


def test_a_pool_is_refused_at_once_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    assert run(clock, [Remains(pools=tuple("abcdefg"), enis=("x",))]) == 1
    assert clock.sleeps == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("openeni cannot be uninstalled: pools exist: a, b, c, d, e and 2 more.")
    assert "kubectl delete enipool" in line


def test_it_waits_until_all_is_gone_and_says_once_for_what(
    capfd: pytest.CaptureFixture[str],
) -> None:
    going = Remains(going=("a",), enis=("a-1",), nodes=("n1", "n2"))
    last = Remains(nodes=("n2",))
    assert run(Clock(), [going, going, UnreachableError(0, "gone"), last, last, Remains()]) == 0
    assert capfd.readouterr().err.splitlines() == [
        "waiting for pools: a; ENIs: a-1; nodes to clean: n1, n2",
        "waiting for the Kubernetes API server cannot be used: 0: gone",
        "waiting for nodes to clean: n2",
    ]


def test_it_gives_up_before_helm_does_and_names_what_is_left(
    capfd: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    assert run(clock, [Remains(nodes=("n2",))]) == 1
    assert WAIT_SECONDS < clock.now <= WAIT_SECONDS + 2 * LOOK_SECONDS
    last = capfd.readouterr().err.splitlines()[-1]
    assert "after 240 s there are still nodes to clean: n2" in last


class Listed:
    """A store that only lists."""

    def __init__(self, **bodies: list[Json]) -> None:
        self._bodies = bodies

    def list(self, kind: Kind, **_selectors: str) -> Page:
        if kind.plural not in self._bodies:
            raise NotFoundError(404, "no such kind")
        return Page(tuple(self._bodies[kind.plural]), "1")


def left(**bodies: list[Json]) -> Remains:
    return observe(cast("Store", Listed(**bodies)))


def body(name: str, **spec: object) -> Json:
    return {"metadata": {"name": name}, "spec": spec}


def test_what_is_left_is_read_from_the_cluster() -> None:
    going = {"metadata": {"name": "b", "deletionTimestamp": "2026-11-26T10:00:00Z"}}
    nodes = [
        body("plain", taints=[{"key": "other", "effect": "NoSchedule"}]),
        {"metadata": {"name": "labelled", "labels": {LABEL_VETH: "true"}}},
        body("tainted", taints=[{"key": TAINT_AGENT_NOT_READY, "effect": "NoSchedule"}]),
    ]
    listed: dict[str, list[Json]] = {
        ENIPOOLS.plural: [body("a"), going],
        ENIS.plural: [body("a-1")],
        NODES.plural: nodes,
        PODIPS.plural: [{"metadata": {"name": "web", "namespace": "shop"}}],
    }
    assert left(**listed) == Remains(
        ("a",), ("b",), ("a-1",), ("shop/web",), ("labelled", "tainted")
    )
    assert left(**{NODES.plural: nodes[:1]}) == Remains()
