"""Helm's pre-delete hook: what it refuses, and what it waits for."""

from dataclasses import replace
from typing import cast

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
from openeni_kube.store import NotFoundError, Page, Store
from openeni_operator.hooks.uninstall import Remains, observe
from openeni_operator.hooks.waiting import Finding


def test_a_pool_is_refused_and_named() -> None:
    found = Remains(pools=tuple("abcdefg"), enis=("x",)).finding
    assert found.refusal.startswith("pools exist: a, b, c, d, e and 2 more.")
    assert "kubectl delete enipool" in found.refusal


def test_what_goes_by_itself_is_waited_for() -> None:
    found = Remains(going=("a",), enis=("a-1",), podips=("shop/web",), nodes=("n1", "n2")).finding
    assert found == Finding(
        "pools to go: a; pods with an address to end: shop/web; ENIs to go: a-1; "
        "nodes to be cleaned: n1, n2"
    )
    assert Remains().finding == Finding()


def test_ports_without_an_eni_are_named_while_a_pool_can_name_them() -> None:
    """The sweep reports them on every pool of the cloud; they go with no pool."""
    said = "ports of this cluster have no ENI (docs/orphans.md): unused: 5d1b"
    owned = {"type": "PortsOwned", "status": "False", "message": said}
    others = [{"type": "Ready", "status": "False", "message": "m"}, {**owned, "status": "True"}]
    pools = [body("a"), body("b"), body("c")]
    for pool, conditions in zip(pools, ([owned], [owned], others), strict=True):
        pool["status"] = {"conditions": conditions}
    found = left(**{ENIPOOLS.plural: pools})
    assert found.orphans == (said,)
    assert found.finding.notice == f"nobody deletes them: {said}"
    going = replace(found, pools=(), going=found.pools)
    assert going.finding == Finding("pools to go: a, b, c", notice=found.finding.notice)


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
