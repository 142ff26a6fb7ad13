"""Which pool serves a pod, and what it asks for: operator and agent must decide alike."""

import random
from dataclasses import replace

import pytest

from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json, decode
from openeni_crds.names import ANNOTATION_ADDRESS, ANNOTATION_POOL
from openeni_crds.selection import (
    NodeTraits,
    NoPool,
    PodTraits,
    WishError,
    choose_pool,
    selects_node,
    server_of,
    serves,
    wish_of,
)
from openeni_testing.objects import pool_body

DB: Json = {"matchLabels": {"tier": "db"}}
TEAM: Json = {"matchLabels": {"team": "a"}}
EVERY: Json = {}
GPU: Json = {"matchLabels": {"gpu": "yes"}}
DATABASE = {"tier": "db"}
NODE = NodeTraits({"kubernetes.io/os": "linux"}, "6a2c5b0e")


def pool(name: str, minute: int = 0, *, deleting: bool = False, **spec: object) -> ENIPool:
    """Return a pool that was made in that minute."""
    body = pool_body(name)
    body["metadata"]["creationTimestamp"] = f"2026-01-01T00:{minute:02}:00Z"
    if deleting:
        body["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    body["spec"] |= spec
    return decode(body, ENIPool)


def pod(*, pool: str = "", labels: Json | None = None, team: str = "") -> PodTraits:
    annotations = {ANNOTATION_POOL: pool} if pool else {}
    return PodTraits("shop", labels or {}, annotations, {"team": team} if team else {})


ALL = pool("all", podSelector=EVERY, priority=-10)
BY_POD = pool("by-pod", podSelector=DB)
TENANT = pool("tenant", namespaceSelector=TEAM, podSelector=EVERY)
ON_REQUEST = pool("on-request")
TENANT_ON_REQUEST = pool("tenant-on-request", namespaceSelector=TEAM)

CASES: list[tuple[str, PodTraits, list[ENIPool], str]] = [
    ("the named pool, whatever selects the pod",
     pod(pool="on-request", labels=DATABASE), [ALL, BY_POD, ON_REQUEST], "on-request"),
    ("a named pool that is not there is not replaced by a guess",
     pod(pool="gone", labels=DATABASE), [ALL, BY_POD], "there is no ENIPool 'gone'"),
    ("a name goes round no namespaceSelector",
     pod(pool="tenant"), [ALL, TENANT], "does not permit pods of namespace 'shop'"),
    ("a permitted namespace may name the pool",
     pod(pool="tenant-on-request", team="a"), [ALL, TENANT_ON_REQUEST], "tenant-on-request"),
    ("a named pool that is being deleted",
     pod(pool="old"), [ALL, pool("old", deleting=True)], "ENIPool 'old' is being deleted"),
    ("a named pool of other nodes",
     pod(pool="gpu"), [ALL, pool("gpu", nodeSelector=GPU)], "'gpu' does not serve this node"),
    ("the higher priority",
     pod(labels=DATABASE), [ALL, BY_POD], "by-pod"),
    ("the lower priority where the higher does not match",
     pod(), [ALL, BY_POD], "all"),
    ("a pool of the pod's namespace",
     pod(team="a"), [ALL, TENANT], "tenant"),
    ("not a pool of another namespace",
     pod(), [ALL, TENANT], "all"),
    ("both selectors must match",
     pod(team="a"), [ALL, pool("both", podSelector=DB, namespaceSelector=TEAM)], "all"),
    ("a namespaceSelector alone selects nobody unasked",
     pod(team="a"), [ALL, TENANT_ON_REQUEST], "all"),
    ("no podSelector selects nobody unasked",
     pod(), [ON_REQUEST], "none of the ENIPools of this node (on-request) selects this pod"),
    ("a pool of other nodes is passed over",
     pod(), [ALL, pool("gpu", podSelector=EVERY, nodeSelector=GPU)], "all"),
    ("a pool that is being deleted is passed over",
     pod(), [ALL, pool("old", podSelector=EVERY, deleting=True)], "all"),
    ("the oldest of one priority",
     pod(), [pool("a", 2, podSelector=EVERY), pool("z", 1, podSelector=EVERY)], "z"),
    ("of one second, the first by name",
     pod(), [pool("b", podSelector=EVERY), pool("a", podSelector=EVERY)], "a"),
    ("priority before age",
     pod(), [pool("old", 1, podSelector=EVERY), pool("new", 2, podSelector=EVERY, priority=1)],
     "new"),
    ("no pools at all", pod(), [], "no ENIPool serves this node"),
    ("no pool that stays", pod(), [pool("old", podSelector=EVERY, deleting=True)],
     "no ENIPool serves this node (old: being deleted)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "pools", "chosen"), [pytest.param(*rest, id=what) for what, *rest in CASES]
)
def test_a_pods_pool(facts: PodTraits, pools: list[ENIPool], chosen: str) -> None:
    """Whatever the order in which the pools are given."""
    for seed in range(4):
        found = choose_pool(facts, NODE, random.Random(seed).sample(pools, len(pools)))  # noqa: S311
        if isinstance(found, NoPool):
            assert chosen in found.why
        else:
            assert found.name == chosen


def test_nothing_serves_a_node_that_is_no_server() -> None:
    elsewhere = replace(NODE, server_id="")
    assert not selects_node(ALL, elsewhere)
    found = choose_pool(pod(), elsewhere, [ALL])
    assert isinstance(found, NoPool)
    assert "no ENIPool serves this node" in found.why


def test_a_pool_that_is_being_deleted_still_selects_its_nodes_but_serves_no_pod() -> None:
    old = pool("old", deleting=True)
    assert selects_node(old, NODE)
    assert not serves(old, NODE)


@pytest.mark.parametrize(
    ("provider_id", "server"),
    [
        ("openstack:///6a2c5b0e", "6a2c5b0e"),
        ("openstack://RegionOne/6a2c5b0e", "6a2c5b0e"),
        ("", ""),
        ("aws:///eu-central-1a/i-0123", ""),
        ("openstack:///", ""),
        ("openstack:///a/b", ""),
    ],
)
def test_a_nodes_server_is_named_by_its_provider_id(provider_id: str, server: str) -> None:
    assert server_of(provider_id) == server


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("10.98.0.77", ("10.98.0.77",)),
        ("FD98::0077, 10.98.0.77", ("10.98.0.77", "fd98::77")),
        ("fe80::1", ("fe80::1",)),
    ],
)
def test_addresses_that_a_pod_asks_for_have_one_form(text: str, addresses: tuple[str, ...]) -> None:
    assert wish_of({ANNOTATION_ADDRESS: text}).addresses == addresses


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.98.0",
        "10.98.0.77,10.98.0.78",
        "10.98.0.77,",
        "fe80::1%eth0",
        "fe80::1%x\n2026-11-30 14:00:00 ERROR the journal is lost\x1b[2J" + "A" * 20_000,
        "::ffff:10.98.0.77",
        "10.98.0.77,::ffff:10.98.0.77",
    ],
)
def test_what_is_no_address_of_a_port_is_refused_on_one_line(text: str) -> None:
    """Python takes any text as an IPv6 address's zone."""
    with pytest.raises(WishError, match=f"annotation {ANNOTATION_ADDRESS} is ") as refused:
        wish_of({ANNOTATION_ADDRESS: text})
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


def test_of_a_text_as_long_as_an_annotation_may_be_no_address_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each ADD would read them all, while the interpreter serves nobody else."""
    read: list[str] = []
    monkeypatch.setattr("openeni_crds.selection.ip_address", read.append)
    with pytest.raises(WishError):
        wish_of({ANNOTATION_ADDRESS: "::1," * 62_500})
    assert read == []
