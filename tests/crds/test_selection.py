"""Which pool serves a pod: one table, since operator and agent must read it the same way."""

import random

import pytest

from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode
from openeni_crds.names import ANNOTATION_POOL
from openeni_crds.selection import NoPool, PodTraits, choose_pool, default_pool, selects
from openeni_testing.objects import pool_body

DB: Json = {"matchLabels": {"tier": "db"}}
TEAM: Json = {"matchLabels": {"team": "a"}}
EVERYTHING: Json = {}


def pool(name: str, minute: int = 0, **spec: object) -> ENIPool:
    """A pool that was made in that minute."""
    body = pool_body(name)
    body["metadata"]["creationTimestamp"] = f"2026-01-01T00:{minute:02}:00Z"
    body["spec"] |= spec
    return decode(body, ENIPool)


def pod(*, pool: str = "", labels: Json | None = None, team: str = "") -> PodTraits:
    annotations = {ANNOTATION_POOL: pool} if pool else {}
    return PodTraits(labels or {}, annotations, {"team": team} if team else {})


DEFAULT = pool("default", selection="Default")
BY_POD = pool("by-pod", podSelector=DB)
BY_NAMESPACE = pool("by-namespace", namespaceSelector=TEAM)
BY_BOTH = pool("by-both", podSelector=DB, namespaceSelector=TEAM)
PLAIN = pool("plain")
DATABASE = {"tier": "db"}


@pytest.mark.parametrize(
    ("facts", "pools", "chosen"),
    [
        pytest.param(
            pod(pool="plain", labels=DATABASE),
            [DEFAULT, BY_POD, PLAIN],
            "plain",
            id="the annotation decides against every selector",
        ),
        pytest.param(
            pod(pool="gone", labels=DATABASE),
            [DEFAULT, BY_POD],
            "there is no ENIPool 'gone'",
            id="an annotation that names no pool is not replaced by a guess",
        ),
        pytest.param(
            pod(labels=DATABASE), [DEFAULT, BY_POD], "by-pod", id="a selector before the Default"
        ),
        pytest.param(pod(), [DEFAULT, BY_POD], "default", id="the Default where none matches"),
        pytest.param(
            pod(team="a"), [DEFAULT, BY_NAMESPACE], "by-namespace", id="a namespace's labels"
        ),
        pytest.param(
            pod(labels=DATABASE), [DEFAULT, BY_BOTH], "default", id="both selectors must match"
        ),
        pytest.param(
            pod(labels=DATABASE, team="a"), [DEFAULT, BY_BOTH], "by-both", id="and then it is that"
        ),
        pytest.param(
            pod(labels=DATABASE),
            [pool("a-younger", 2, podSelector=DB), pool("z-older", 1, podSelector=DB)],
            "z-older",
            id="the oldest of those that match",
        ),
        pytest.param(
            pod(labels=DATABASE),
            [pool("b", podSelector=DB), pool("a", podSelector=DB)],
            "a",
            id="of one second, the first by name",
        ),
        pytest.param(
            pod(),
            [pool("a-younger", 2, selection="Default"), pool("z-older", 1, selection="Default")],
            "z-older",
            id="the oldest Default is in force",
        ),
        pytest.param(
            pod(labels=DATABASE), [PLAIN], "create a Default pool", id="no selector is no match"
        ),
        pytest.param(
            pod(), [pool("all", podSelector=EVERYTHING)], "all", id="an empty selector is every pod"
        ),
        pytest.param(pod(), [], "no ENIPool selects this pod", id="no pools at all"),
    ],
)
def test_a_pods_pool(facts: PodTraits, pools: list[ENIPool], chosen: str) -> None:
    """Whatever the order in which the pools are given."""
    for seed in range(4):
        found = choose_pool(facts, random.Random(seed).sample(pools, len(pools)))  # noqa: S311
        if isinstance(found, NoPool):
            assert chosen in found.why
        else:
            assert found.name == chosen


def test_a_pool_without_selectors_selects_nothing_by_itself() -> None:
    assert not selects(DEFAULT, pod(labels=DATABASE, team="a"))


def test_without_a_default_pool_there_is_none() -> None:
    assert default_pool([PLAIN, BY_POD]) is None
