"""After any changes the indexes are what a count from scratch finds, and each change is noted."""

from collections.abc import Iterable
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import decode
from openeni_crds.podip import PodIP
from openeni_crds.status.eni import PortStatus
from openeni_operator.core_objects import Node, WaitingPod
from openeni_operator.index.cluster import ClusterIndex
from openeni_testing.objects import eni_body, podip_body, pool_body

Objects: TypeAlias = dict[tuple[str, str], Any]
NODES, POOLS, NAMES = ("n1", "n2"), ("p", "q"), ("a", "b", "c")
ADDRESSES = ("10.98.0.3", "10.98.0.4", "10.98.0.5")
some_addresses = st.lists(st.sampled_from(ADDRESSES), max_size=2, unique=True)


@st.composite
def enis(draw: st.DrawFn) -> ENI:
    name, node = draw(st.sampled_from(NAMES)), draw(st.sampled_from(NODES))
    made = decode(eni_body(name, node=node, pool=draw(st.sampled_from(POOLS))), ENI)
    held = tuple(draw(some_addresses))
    port = PortStatus("p", "", "fa:16:3e:00:00:01", 1, 1450, (), ("10.98.0.2",), held)
    return replace(made, status=replace(made.status, port=port if held else None))


@st.composite
def podips(draw: st.DrawFn) -> PodIP:
    made = decode(podip_body(draw(st.sampled_from(NAMES))), PodIP)
    spec = replace(
        made.spec,
        eni_name=draw(st.sampled_from(("", *NAMES))),
        node_name=draw(st.sampled_from(NODES)),
        pool_name=draw(st.sampled_from(POOLS)),
        address=draw(st.sampled_from(ADDRESSES)),
    )
    return replace(made, spec=spec)


@st.composite
def pods(draw: st.DrawFn) -> WaitingPod:
    node, waits = draw(st.sampled_from(NODES)), draw(st.booleans())
    name = draw(st.sampled_from(NAMES))
    return WaitingPod("u", "default", node, {}, {}, waits_for_address=waits, name=name)


a_node = st.builds(Node, st.sampled_from(NODES), st.just({}), st.just("s"), st.integers(1, 2))


def key_of(value: Any) -> tuple[str, str]:
    return type(value).__name__, value.name if isinstance(value, ENI | Node) else value.key


def held_by(eni: ENI) -> set[str]:
    return set(eni.status.port.addresses) if eni.status.port else set()


def applied(index: ClusterIndex, objects: Objects, changes: Iterable[tuple[Any, bool]]) -> None:
    """Put or remove each value, in the index and among the objects."""
    for value, removed in changes:
        key = key_of(value)
        before, after = objects.get(key), None if removed else value
        if before is None and after is None:
            continue
        index.replace(before, after)
        objects.pop(key, None)
        if after is not None:
            objects[key] = after


values = st.one_of(enis(), podips(), pods(), a_node)
histories = st.lists(st.tuples(values, st.booleans()), max_size=30)


@given(histories)
def test_the_indexes_are_what_a_count_from_scratch_finds(changes: list[tuple[Any, bool]]) -> None:
    index, objects = ClusterIndex(), Objects()
    applied(index, objects, changes)
    present = list(objects.values())
    for pool in POOLS:
        own = [e for e in present if isinstance(e, ENI) and e.spec.pool_name == pool]
        assert by_name(index.enis_by_pool.of(pool)) == by_name(own)
    for node in NODES:
        on = [e for e in present if isinstance(e, ENI) and e.spec.node_name == node]
        assert by_name(index.enis_by_node.of(node)) == by_name(on)
        waiting = [p for p in present if isinstance(p, WaitingPod) and p.waits_for_address]
        assert by_name(index.waiting_by_node.of(node)) == by_name(
            p for p in waiting if p.node == node
        )
    for address in ADDRESSES:
        names = {e.name for e in present if isinstance(e, ENI) and address in held_by(e)}
        assert set(index.addresses.enis_with(address)) == names
        naming = [p for p in present if isinstance(p, PodIP) and address in p.spec.addresses]
        for pool in POOLS:
            found = index.addresses.podips_naming(pool, address)
            assert by_name(found) == by_name(p for p in naming if p.spec.pool_name == pool)
    held = {(e.spec.pool_name, a) for e in present if isinstance(e, ENI) for a in held_by(e)}
    named = {
        (p.spec.pool_name, a) for p in present if isinstance(p, PodIP) for a in p.spec.addresses
    }
    assert index.addresses.unplaced() == named - held
    for eni in ("", *NAMES):
        of_eni = [p for p in present if isinstance(p, PodIP) and p.spec.eni_name == eni]
        assert by_name(index.addresses.podips_on(eni)) == by_name(of_eni)


@given(histories, values, st.booleans())
def test_a_change_is_noted_for_each_node_that_it_is_about(
    changes: list[tuple[Any, bool]], value: Any, removed: bool
) -> None:
    index, objects = ClusterIndex(), Objects()
    applied(index, objects, changes)
    assert index.changes.take("p").everything, "nothing was read before"
    before = objects.get(key_of(value))
    concerned = nodes_of(before, objects)
    applied(index, objects, [(value, removed)])
    after = objects.get(key_of(value))
    concerned |= nodes_of(after, objects)
    found = index.changes.take("p")
    assert found.nodes == (concerned if before != after else set())
    assert found.enis == ({value.name} if isinstance(value, ENI) and before != after else set())
    assert not found.everything
    assert index.changes.take("p").nodes == set(), "it was read"


def nodes_of(value: Any, objects: Objects) -> set[str]:
    """Return the nodes that the value says something about, among these objects."""
    match value:
        case ENI():
            return {value.spec.node_name}
        case Node():
            return {value.name}
        case WaitingPod():
            return {value.node, *nodes_of(objects.get(("PodIP", value.key)), objects)}
        case PodIP():
            pod = objects.get(("WaitingPod", value.key))
            own = {value.spec.node_name, *([pod.node] if pod else ())}
            return own | {
                e.spec.node_name
                for e in objects.values()
                if isinstance(e, ENI)
                and (
                    e.name == value.spec.eni_name or not held_by(e).isdisjoint(value.spec.addresses)
                )
            }
        case _:
            return set()


def test_what_is_not_of_one_node_is_everybodys() -> None:
    index, pool = ClusterIndex(), decode(pool_body("p"), ENIPool)
    for before, after, everything in (
        (None, pool, True),
        (pool, replace(pool, status=replace(pool.status, eni_count=3)), False),
        (pool, replace(pool, spec=replace(pool.spec, paused=True)), True),
        (pool, None, True),
        (None, {"team": "a"}, True),
        ({"team": "a"}, None, True),
    ):
        index.changes.take("p")
        index.replace(before, after)
        assert index.changes.take("p").everything == everything


def test_a_reader_that_is_gone_costs_nothing() -> None:
    index = ClusterIndex()
    index.changes.take("p")
    index.changes.forget("p")
    index.replace(None, Node("n1", {}, "s", 1))
    assert index.changes.take("p").everything, "it begins anew"


def by_name(values: Iterable[Any]) -> list[Any]:
    return sorted(values, key=lambda value: value.name)
