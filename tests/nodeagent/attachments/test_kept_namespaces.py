"""A namespace that outlives its container's DEL: what was left there is no later attachment's.

Container runtimes remove it. `cnitool`, which names containers after their namespaces, does not.
"""

import json
import re
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from openeni_nodeagent.cni.protocol import Code
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import Answer, Runtime, finish
from openeni_testing.network import neutron
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import MODES
from openeni_testing.soak.node import ADDRESSES, SufferingNode, suffering_node
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]
CYCLES = 8  # what a DEL leaves is removed beside the next ADD
DEADLINE = 10


@pytest.fixture
def node(
    request: pytest.FixtureRequest, tmp_path: Path, executable: Path
) -> Generator[SufferingNode]:
    with suffering_node(tmp_path, executable, request.param) as made:
        yield made


@pytest.fixture
def kept() -> Generator[Namespace]:
    with Namespace("kept") as made:
        yield made


def runtime(node: SufferingNode, space: Namespace, path: Path | None = None) -> Runtime:
    """Return the runtime of a container in a namespace, to which another path may lead."""
    netns = path or Path(space.path)
    return Runtime(node.host.executable, node.host.settings.run, netns, DEADLINE)


def attached(node: SufferingNode, space: Namespace, container: str, uid: str) -> set[str]:
    """Call ADD for the pod of the container's name; return its addresses."""
    answer = runtime(node, space).call("ADD", container, uid, container)
    return granted_by(answer)


def granted_by(answer: Answer) -> set[str]:
    assert answer.code == 0, answer
    return {one["address"].partition("/")[0] for one in answer.body["ips"]}


def addresses_in(space: Namespace) -> set[str]:
    """Return the global addresses of a namespace, on whatever link."""
    listed = json.loads(space.program("ip", "-j", "addr", "show"))
    return {a["local"] for link in listed for a in link["addr_info"] if a["scope"] == "global"}


def is_bare(space: Namespace) -> bool:
    return not addresses_in(space)


def running_calls(node: SufferingNode) -> int:
    """Return how many connections from here the agent's socket has."""
    connected = rf" 03 +\d+ {node.host.settings.run}/"  # proc_net_unix(5): state, inode, path
    return len(re.findall(connected, Path("/proc/thread-self/net/unix").read_text()))


@pytest.mark.parametrize("node", MODES, indirect=True)
@pytest.mark.parametrize("same", [True, False], ids=["same container", "another container"])
def test_each_attachment_has_its_own_addresses_alone(
    node: SufferingNode, kept: Namespace, *, same: bool
) -> None:
    container, uid = "c0", node_objects.make_pod(node.host.store, "c0")
    for cycle in range(CYCLES):
        if cycle and not same:
            container, uid = f"c{cycle}", node_objects.make_pod(node.host.store, f"c{cycle}")
        granted = attached(node, kept, container, uid)
        assert addresses_in(kept) == granted, cycle
        assert all(map(node.network.fabric.ping, granted)), cycle
        assert kept.ping(neutron.GATEWAY)
        assert addresses_in(kept) == granted, cycle
        assert runtime(node, kept).call("DEL", container, uid, container).code == 0


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_an_interface_that_another_container_still_has_is_not_taken(
    node: SufferingNode, kept: Namespace
) -> None:
    first, second = (node_objects.make_pod(node.host.store, name) for name in ("c0", "c1"))
    granted = attached(node, kept, "c0", first)
    refused = runtime(node, kept).call("ADD", "c1", second, "c1")
    assert refused.error == Code.TRY_AGAIN
    assert "eth0 of another container" in refused.body["msg"]
    assert addresses_in(kept) == granted
    assert runtime(node, kept).call("DEL", "c0", first, "c0").code == 0
    granted = attached(node, kept, "c1", second)
    assert addresses_in(kept) == granted


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_nothing_is_left_in_the_first_of_two_namespaces_of_a_container(
    node: SufferingNode, kept: Namespace
) -> None:
    uid = node_objects.make_pod(node.host.store, "c0")
    attached(node, kept, "c0", uid)
    assert runtime(node, kept).call("DEL", "c0", uid, "c0").code == 0
    with Namespace("second") as second:
        granted = attached(node, second, "c0", uid)
        wait_for(lambda: not addresses_in(kept), "nothing is left")
        assert addresses_in(second) == granted


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_what_a_killed_agent_has_left_is_not_taken_for_a_new_pods(
    node: SufferingNode, kept: Namespace
) -> None:
    """It forgets that links are still to be removed."""
    uids = [node_objects.make_pod(node.host.store, name) for name in ("c0", "c1")]
    attached(node, kept, "c0", uids[0])
    assert runtime(node, kept).call("DEL", "c0", uids[0], "c0").code == 0
    node.end_agent()
    node.start_agent()
    granted = attached(node, kept, "c1", uids[1])
    assert addresses_in(kept) == granted


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_a_namespace_whose_path_goes_with_the_del_keeps_no_address(
    node: SufferingNode, tmp_path: Path
) -> None:
    """A process in it keeps the namespace: runtimes remove the path alone."""
    names = [f"c{number}" for number in range(ADDRESSES)]
    spaces = {name: Namespace(name) for name in names}
    uids = {name: node_objects.make_pod(node.host.store, name) for name in names}

    def end(name: str) -> int:
        path = tmp_path / name
        code = runtime(node, spaces[name], path).call("DEL", name, uids[name], name).code
        path.unlink()
        return code

    for name in names:
        (tmp_path / name).symlink_to(spaces[name].path)
        answer = runtime(node, spaces[name], tmp_path / name).call("ADD", name, uids[name], name)
        assert granted_by(answer) == addresses_in(spaces[name])
    with ThreadPoolExecutor(ADDRESSES) as threads:
        assert set(threads.map(end, names)) == {0}
    for name in names:
        wait_for(partial(is_bare, spaces[name]), f"nothing is left in {name}")
    with Namespace("next") as following:
        for name in names:
            uid = node_objects.make_pod(node.host.store, f"after-{name}")
            granted = attached(node, following, f"after-{name}", uid)
            assert addresses_in(following) == granted
            code = runtime(node, following).call("DEL", f"after-{name}", uid, f"after-{name}").code
            assert code == 0
    for space in spaces.values():
        space.close()


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_of_two_adds_that_wait_in_one_namespace_one_gets_the_interface(
    node: SufferingNode, kept: Namespace
) -> None:
    first = [f"f{number}" for number in range(ADDRESSES)]
    uids = {n: node_objects.make_pod(node.host.store, n) for n in (*first, "c0", "c1")}
    spaces = {name: Namespace(name) for name in first}
    for name in first:
        attached(node, spaces[name], name, uids[name])
    calls = [runtime(node, kept).start("ADD", name, uids[name], name) for name in ("c0", "c1")]
    wait_for(lambda: running_calls(node) >= len(calls), "both wait")
    for name in first[:2]:
        assert runtime(node, spaces[name]).call("DEL", name, uids[name], name).code == 0
    got, refused = sorted(map(finish, calls), key=lambda answer: answer.error)
    assert refused.error == Code.TRY_AGAIN
    assert "eth0 of another container" in refused.body["msg"]
    assert addresses_in(kept) == granted_by(got)
    assert all(map(node.network.fabric.ping, granted_by(got)))
    for space in spaces.values():
        space.close()


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_a_container_does_not_move_to_where_another_has_the_interface(
    node: SufferingNode, kept: Namespace
) -> None:
    first, second = (node_objects.make_pod(node.host.store, name) for name in ("c0", "c1"))
    with Namespace("other") as other:
        granted = attached(node, kept, "c0", first)
        others = attached(node, other, "c1", second)
        refused = runtime(node, kept).call("ADD", "c1", second, "c1")
        assert refused.error == Code.TRY_AGAIN
        assert "eth0 of another container" in refused.body["msg"]
        assert (addresses_in(kept), addresses_in(other)) == (granted, others)
        assert all(map(node.network.fabric.ping, granted | others))


@pytest.mark.parametrize("node", MODES, indirect=True)
def test_an_add_after_a_queued_del_of_its_container_keeps_its_network(
    node: SufferingNode, kept: Namespace
) -> None:
    """The agent runs already, and does not listen yet at the moment of the DEL."""
    uid = node_objects.make_pod(node.host.store, "c0")
    attached(node, kept, "c0", uid)
    queue, listening = node.host.settings.queue, node.host.settings.socket
    listening.rename(listening.with_name("not yet"))
    with node.halted_agent():  # it works off the queue every few seconds
        assert runtime(node, kept).call("DEL", "c0", uid, "c0").code == 0
        assert list(queue.glob("*.del"))
    listening.with_name("not yet").rename(listening)
    granted = attached(node, kept, "c0", uid)
    wait_for(lambda: not list(queue.glob("*.del")), "the DEL is worked off")
    assert addresses_in(kept) == granted
    assert runtime(node, kept).call("CHECK", "c0", uid, "c0", prevResult={}).error != 3
