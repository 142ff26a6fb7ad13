"""Of two containers in one namespace, one gets the interface: the one whose grant is made first.

And a container has one interface of openeni: errors about another one say so.
"""

import threading
from pathlib import Path

import msgspec
import pytest

from openeni_nodeagent.cni.parsing import parse
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import CONFIG
from openeni_testing.agent.direct_call import handle_directly
from openeni_testing.agent.failed_adds import with_node
from openeni_testing.agent.parts import AgentParts
from openeni_testing.waiting import wait_for

WORDS = "the eth0 of another container"


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects(count=2)
    with_node(made)
    return made


def share(parts: AgentParts, *containers: str) -> None:
    """Let the containers have one namespace."""
    first, *others = map(parts.netns, containers)
    first.touch()
    for other in others:
        other.unlink(missing_ok=True)
        other.hardlink_to(first)


def call(
    parts: AgentParts,
    command: str,
    container: str,
    uid: str,
    *,
    interface: str = "eth0",
    seconds: float = 0.0,
) -> None:
    """Make a call that waits so long for an address. Raises CNIError."""
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": str(parts.netns(container)),
        "CNI_IFNAME": interface,
        "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={container};K8S_POD_UID={uid}",
    }
    config: dict[str, object] = {**CONFIG, "prevResult": {} if command == "CHECK" else None}
    request = parse(environment, msgspec.json.encode(config))
    handle_directly(parts.commands, request, seconds)


def add(parts: AgentParts, container: str, uid: str, seconds: float = 0.0) -> None:
    call(parts, "ADD", container, uid, seconds=seconds)


def test_of_two_adds_that_wait_for_an_address_one_gets_the_interface(parts: AgentParts) -> None:
    first = [parts.grant(name, name) for name in ("f0", "f1")]
    uids = {name: node_objects.make_pod(parts.store, name) for name in ("c0", "c1")}
    parts.sync(look=False)
    share(parts, "c0", "c1")
    refused: list[CNIError] = []

    def try_to_add(container: str) -> None:
        try:
            add(parts, container, uids[container], 30.0)
        except CNIError as error:
            refused.append(error)

    threads = [threading.Thread(target=try_to_add, args=[name], daemon=True) for name in uids]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(parts.grants.waits()) == len(uids), "both wait")
    for grant in first:
        parts.datapath.lose(grant.addresses[0])
        parts.grants.end_grant(grant, EndReason.ADD_FAILED, used=False)
    parts.look()
    for thread in threads:
        thread.join(60)
    (error,) = refused
    assert (error.code, WORDS in error.message) == (Code.TRY_AGAIN, True)
    (grant,) = parts.grants.all()
    assert set(parts.datapath.owners()) == set(grant.addresses)


def test_a_taken_interface_is_told_before_an_add_waits(parts: AgentParts) -> None:
    for name in ("c0", "f1"):
        parts.grant(name, name)
    uid = node_objects.make_pod(parts.store, "c1")
    parts.sync(look=False)
    share(parts, "c0", "c1")
    with pytest.raises(CNIError, match=WORDS):
        add(parts, "c1", uid, 5.0)


def test_a_container_does_not_move_to_where_another_has_the_interface(parts: AgentParts) -> None:
    first, second = (parts.grant(name, name) for name in ("c0", "c1"))
    parts.sync(look=False)
    share(parts, "c0", "c1")
    with pytest.raises(CNIError, match=WORDS) as raised:
        add(parts, "c1", second.attachment.pod_uid)
    assert raised.value.code == Code.TRY_AGAIN
    assert set(parts.grants.all()) == {first, second}
    assert parts.datapath.ended == []


def test_a_number_that_is_given_again_is_no_conflict(parts: AgentParts) -> None:
    """The DEL of the container whose namespace had it is still to come."""
    parts.grant("c0", "c0")
    uid = node_objects.make_pod(parts.store, "c1")
    parts.sync(look=False)
    share(parts, "c0", "c1")
    parts.netns("c0").unlink()
    add(parts, "c1", uid)
    assert parts.grants.find("c1", "eth0") is not None


def test_a_check_of_another_interface_does_not_say_that_no_del_is_needed(parts: AgentParts) -> None:
    uid = parts.grant("c0", "c0").attachment.pod_uid
    parts.sync(look=False)
    with pytest.raises(CNIError) as raised:
        call(parts, "CHECK", "c0", uid, interface="net1")
    error = raised.value
    assert error.message == "container c0 has no interface net1 of openeni"
    assert (error.code, error.details) == (Code.UNHEALTHY, "it has eth0")
    with pytest.raises(CNIError, match="container c1 has no address") as raised:
        call(parts, "CHECK", "c1", uid, interface="net1")
    assert raised.value.code == Code.UNKNOWN_CONTAINER


def test_what_the_kernel_refuses_of_a_second_interface_names_the_first(parts: AgentParts) -> None:
    uid = parts.grant("c0", "c0").attachment.pod_uid
    parts.sync(look=False)
    parts.datapath.build_fails = "add route: EEXIST"
    with pytest.raises(CNIError) as raised:
        call(parts, "ADD", "c0", uid, interface="net1")
    why = "the container has eth0, and openeni makes one interface for each pod; add route: EEXIST"
    assert raised.value.details == why
    with pytest.raises(CNIError) as raised:
        call(parts, "ADD", "c0", uid)
    assert raised.value.details == "add route: EEXIST"
