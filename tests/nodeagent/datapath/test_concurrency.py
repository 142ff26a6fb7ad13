"""Many ADDs and DELs at once: each configures its own pod's namespace and no other."""

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Never

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_crds.names import host_link
from openeni_nodeagent.datapath import kernel_datapath
from openeni_nodeagent.datapath.linux import dumps
from openeni_nodeagent.datapath.linux.kernel import observe, observe_filters
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import Address, State
from openeni_nodeagent.datapath.pod import build_from_template
from openeni_nodeagent.datapath.turns import TURNS
from openeni_nodeagent.datapath_api import ENIFacts, KernelRefusedError
from openeni_testing.network.netns import Namespace
from openeni_testing.network.node import Node, eni_facts, pod_interface

pytestmark = pytest.mark.root
PODS = 24
ROUNDS = 3
THREADS = 12
ADDRESSES = tuple(f"10.98.0.{number}" for number in range(20, 20 + PODS))


@pytest.fixture
def eni(node: Node) -> ENIFacts:
    facts = eni_facts("eni", 10, Datapath(Mode.VETH))
    node.attach("ens7", facts, ADDRESSES)
    return facts


def look() -> State:
    with Netlink() as netlink:
        return observe(netlink) | observe_filters()


def addresses(namespace: Namespace) -> set[str]:
    """All but the loopback's and link-local ones."""
    found = {i.address for i in namespace.run(look) if isinstance(i, Address)}
    return {a for a in found if not a.startswith(("127.", "::1", "fe80:"))}


def test_every_pod_gets_its_own_address_and_the_node_gets_none(node: Node, eni: ENIFacts) -> None:
    before = node.namespace.run(look)
    own = addresses(node.namespace)
    pods = [pod_interface(f"pod{a}", eni, a) for a in ADDRESSES]
    spaces = [Namespace(pod.container_id) for pod in pods]
    paths = [space.path for space in spaces]

    def all_at_once() -> None:  # the threads are the node's: they come from one of its own
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(node.datapath.add, pods, paths))

    def none_left() -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(node.datapath.delete, pods))
            list(threads.map(node.datapath.finish_delete, pods, paths))

    for _ in range(ROUNDS):
        node.namespace.run(all_at_once)
        assert [addresses(s) for s in spaces] == [{a} for a in ADDRESSES]
        assert addresses(node.namespace) == own
        wrong = [node.run(node.datapath.check, *pair) for pair in zip(pods, paths, strict=True)]
        assert wrong == [()] * PODS
        node.namespace.run(none_left)
        assert [addresses(s) for s in spaces] == [set[str]()] * PODS
        assert node.namespace.run(look) == before
    for space in spaces:
        space.close()


def test_of_many_that_are_added_at_once_few_are_built_together(
    node: Node, eni: ENIFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting, build, met = threading.Barrier(TURNS + 1), build_from_template, list[int]()

    def noting(*arguments: Any) -> None:
        with suppress(threading.BrokenBarrierError):
            met.append(meeting.wait(0.2))
        build(*arguments)

    monkeypatch.setattr(kernel_datapath, "build_from_template", noting)
    pods = [pod_interface(f"pod{a}", eni, a) for a in ADDRESSES[: 3 * TURNS]]
    spaces = [Namespace(pod.container_id) for pod in pods]

    def at_once() -> None:
        with ThreadPoolExecutor(3 * TURNS) as threads:
            list(threads.map(node.datapath.add, pods, [space.path for space in spaces]))

    node.namespace.run(at_once)
    for space in spaces:
        space.close()
    assert met == []


def test_removing_one_pod_reads_the_links_of_no_other(
    node: Node, eni: ENIFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding those of 250 pods would take 60 ms each time, in the way of the next ADDs."""
    pod, other = node.add("pod", eni, ADDRESSES[0]), node.add("other", eni, ADDRESSES[1])
    before = node.namespace.links()

    def links(_: Netlink) -> Never:
        pytest.fail("all links are read")

    monkeypatch.setattr(dumps, "links", links)
    node.delete(pod)
    gone = host_link(pod.facts.container_id, pod.facts.interface)
    assert node.namespace.links() == before - {gone}
    monkeypatch.undo()
    assert node.run(node.datapath.check, other.facts, other.namespace.path) == ()


def test_adds_that_wait_for_a_look_let_others_have_their_turns(node: Node, eni: ENIFacts) -> None:
    """A look holds what ENIs share while it looks into pods, for as long as root in them likes."""
    pods = [pod_interface(f"pod{a}", eni, a) for a in ADDRESSES[: 2 * TURNS]]
    refused, others = pods[:TURNS], pods[TURNS:]
    spaces = [Namespace(pod.container_id) for pod in pods]
    for space in spaces[:TURNS]:
        space.ip("link add eth0 type veth peer name other")
    paths = [space.path for space in spaces]
    shared, turns = (vars(node.datapath)[name] for name in ("_shared_lock", "_turns"))
    waiting = threading.Barrier(TURNS + 1)
    let_others = turns.let_others

    def waits() -> AbstractContextManager[None]:
        let = let_others()

        @contextmanager
        def told() -> Generator[None]:
            with let:
                waiting.wait(30)
                yield

        return told()

    def beside_a_look() -> None:
        with ThreadPoolExecutor(TURNS) as threads:
            with shared:
                adds = [
                    threads.submit(node.datapath.add, pod, path)
                    for pod, path in zip(refused, paths[:TURNS], strict=True)
                ]
                waiting.wait(30)
                for pod, path in zip(others, paths[TURNS:], strict=True):
                    node.datapath.add(pod, path)
            for add in adds:
                with pytest.raises(KernelRefusedError):
                    add.result(30)

    turns.let_others = waits
    node.namespace.run(beside_a_look)
    wrong = [
        node.run(node.datapath.check, *pair) for pair in zip(others, paths[TURNS:], strict=True)
    ]
    assert wrong == [()] * TURNS
    for space in spaces:
        space.close()


@pytest.mark.ipvlan
@pytest.mark.parametrize("mode", IPVlanMode)
def test_a_pod_that_has_got_the_namespace_of_another_keeps_its_link(
    node: Node, mode: IPVlanMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Path and inode of a namespace are given again, even before a DEL has removed its links.

    Where its addresses cannot be read in time, the DEL is tried again.
    """
    eni = eni_facts("eni", 10, Datapath(Mode.IPVLAN, IPVlanDatapath(mode)))
    node.attach("ens7", eni, ADDRESSES[:2])
    gone, pod = (pod_interface(f"pod{a}", eni, a) for a in ADDRESSES[:2])
    with Namespace(pod.container_id) as space:
        node.run(node.datapath.add, pod, space.path)
        with monkeypatch.context() as slow:
            slow.setattr("openeni_nodeagent.datapath.linux.netlink.LIMITED_SECONDS", -1.0)
            with pytest.raises(KernelRefusedError, match="longer than"):
                node.run(node.datapath.finish_delete, gone, space.path, pod.addresses)
        assert node.run(node.datapath.check, pod, space.path) == ()
        node.run(node.datapath.finish_delete, gone, space.path, pod.addresses)
        assert node.run(node.datapath.check, pod, space.path) == ()
        node.run(node.datapath.delete, pod)
        node.run(node.datapath.finish_delete, pod, space.path)
        assert space.links() == {"lo"}
