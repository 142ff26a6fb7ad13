"""Each cause for which a pod gets no address is an Event with that reason, and nothing else is."""

# pyright: reportPrivateUsage=false

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import pytest

from openeni_crds.names import ANNOTATION_ADDRESS, ANNOTATION_POOL
from openeni_kube.event_series import EventType
from openeni_nodeagent.attachments.commands import CNICommands
from openeni_nodeagent.attachments.granter import Granter
from openeni_nodeagent.cni import server
from openeni_nodeagent.cni.call import Call, EndedCall
from openeni_nodeagent.cni.parsing import parse
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.cni.server import CNIServer
from openeni_nodeagent.event_reasons import (
    NODE_REASONS,
    POD_REASONS,
    WITH_ADDRESS,
    NodeReason,
    PodReason,
)
from openeni_nodeagent.phases import PhaseHistory
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import CONFIG, Runtime
from openeni_testing.agent.direct_call import handle_directly
from openeni_testing.agent.failed_adds import environment, failed_add, pod, recorded, with_node
from openeni_testing.agent.parts import AgentParts
from openeni_testing.waiting import wait_for

Arrange = Callable[[AgentParts], str]  # returns the UID of the pod web


def asks_for_a_pool_that_is_not_there(parts: AgentParts) -> str:
    parts.create_objects()
    return pod(parts, {ANNOTATION_POOL: "none"})


def is_not_seen(parts: AgentParts) -> str:
    parts.create_objects()
    return "unseen"


def _never(_: float, __: Callable[[], bool]) -> bool:
    return False


def comes_before_the_sync(parts: AgentParts) -> str:
    parts.create_objects()
    dependencies = parts.commands._dependencies
    granter = replace(dependencies.granter._dependencies, wait_until_synced=_never)
    given = replace(dependencies, granter=Granter(parts.grants, granter))
    parts.commands = CNICommands(parts.grants, parts.datapath, parts.locks, parts.detacher, given)
    return pod(parts)


def comes_before_the_node_is_seen(parts: AgentParts) -> str:
    parts.create_objects()
    uid = pod(parts)
    parts.caches.nodes.remove({"metadata": {"name": node_objects.NODE, "uid": ""}})
    return uid


def has_a_pool_without_an_eni(parts: AgentParts) -> str:
    node_objects.make_pool(parts.store)
    return pod(parts)


def has_an_eni_without_its_nic(parts: AgentParts) -> str:
    parts.create_objects()
    parts.datapath.nics.clear()
    return pod(parts)


def comes_when_all_addresses_are_granted(parts: AgentParts) -> str:
    parts.create_objects(count=1)
    parts.grant("first", "c0")
    return pod(parts)


def asks_for_an_address_that_another_pod_has(parts: AgentParts) -> str:
    parts.create_objects(count=1)
    grant = parts.grant("first", "c0")
    return pod(parts, {ANNOTATION_ADDRESS: grant.addresses[0]})


def asks_for_an_address_before_its_podip_is_there(parts: AgentParts) -> str:
    parts.create_objects()
    return pod(parts, {ANNOTATION_ADDRESS: "10.98.9.9"})


def asks_for_what_is_no_address(parts: AgentParts) -> str:
    parts.create_objects()
    return pod(parts, {ANNOTATION_ADDRESS: "10.98.0"})


def is_refused_by_the_kernel(parts: AgentParts) -> str:
    parts.create_objects()
    parts.datapath.refused = "no buffer space"
    return pod(parts)


def comes_when_the_journal_cannot_be_written(parts: AgentParts) -> str:
    parts.create_objects()
    parts.journal.close()
    return pod(parts)


CAUSES: Final[Mapping[Arrange, tuple[PodReason, str]]] = {
    asks_for_a_pool_that_is_not_there: (PodReason.NO_POOL, "there is no ENIPool 'none'"),
    is_not_seen: (PodReason.POD_NOT_SEEN, "has not been seen on this node"),
    comes_before_the_sync: (PodReason.AGENT_NOT_SYNCED, "has not read its objects"),
    comes_before_the_node_is_seen: (PodReason.AGENT_NOT_SYNCED, "has not seen Node n1"),
    has_a_pool_without_an_eni: (PodReason.NO_ENI_READY, "ENIPool pods has no ENI on this node"),
    has_an_eni_without_its_nic: (PodReason.NO_ENI_READY, "the NIC of ENI pods-0 is gone"),
    comes_when_all_addresses_are_granted: (
        PodReason.ADDRESSES_EXHAUSTED,
        "all addresses of ENIPool pods on this node are granted or cooling down",
    ),
    asks_for_an_address_that_another_pod_has: (
        PodReason.ADDRESS_NOT_AVAILABLE,
        "is in use by pod default/first of this node",
    ),
    asks_for_an_address_before_its_podip_is_there: (
        PodReason.ADDRESS_NOT_AVAILABLE,
        "10.98.9.9 is on no ENI of this node yet, and no PodIP asks for it: the agent publishes",
    ),
    asks_for_what_is_no_address: (PodReason.INVALID_ANNOTATION, ANNOTATION_ADDRESS),
    is_refused_by_the_kernel: (PodReason.DATAPATH_FAILED, "no buffer space"),
    comes_when_the_journal_cannot_be_written: (
        PodReason.JOURNAL_FAILED,
        "the journal of grants cannot be written",
    ),
}


@pytest.mark.parametrize("arrange", CAUSES)
def test_a_pod_that(tmp_path: Path, arrange: Arrange) -> None:
    parts = AgentParts(tmp_path)
    with_node(parts)
    uid = arrange(parts)
    reason, words = CAUSES[arrange]
    (event,) = recorded(parts, failed_add(parts, uid))
    assert event.reason == reason
    assert words in event.note
    assert event.type is EventType.WARNING
    about = event.regarding
    assert (about.kind.name, about.namespace, about.name) == ("Pod", "default", "web")
    assert about.uid == uid


def test_a_plugin_in_front_of_openeni_is_told_of_the_pod(tmp_path: Path) -> None:
    parts = AgentParts(tmp_path)
    (event,) = recorded(parts, failed_add(parts, "1", prevResult={"ips": []}))
    assert event.reason == PodReason.OTHER_PLUGIN_FIRST


def test_the_pod_that_has_the_host_port_is_named(tmp_path: Path) -> None:
    parts = AgentParts(tmp_path)
    with_node(parts)
    parts.create_objects()
    parts.grant("first", "c0", "", PortMapping(8080, 80, Transport.TCP))
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    ended = failed_add(parts, pod(parts), runtimeConfig={"portMappings": ports})
    (event,) = recorded(parts, ended)
    assert event.reason == PodReason.HOST_PORT_IN_USE
    assert "default/first" in event.note


def test_a_pod_with_too_many_host_ports_is_told(tmp_path: Path) -> None:
    parts = AgentParts(tmp_path)
    with_node(parts)
    parts.create_objects()
    ports = [{"hostPort": n, "containerPort": n} for n in range(1, 1000)]
    ended = failed_add(parts, pod(parts), runtimeConfig={"portMappings": ports})
    (event,) = recorded(parts, ended)
    assert event.reason == PodReason.TOO_MANY_HOST_PORTS
    assert "hostNetwork: true" in event.note


@pytest.mark.parametrize(
    ("adds", "reason"), [(0, PodReason.TOO_MANY_PODS_WAIT), (9, PodReason.AGENT_FAILED)]
)
def test_what_the_server_itself_answers_is_told_after_its_answer(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, adds: int, reason: PodReason
) -> None:
    monkeypatch.setattr(server, "MOST_ADDS", adds)
    ended: list[EndedCall] = []

    def fail(_: Call) -> bytes:
        raise ZeroDivisionError

    path = runtime.run / "cni.sock"
    made = CNIServer(path, fail, PhaseHistory(), observe=ended.append)
    made.start()
    try:
        assert runtime.call("ADD", "c1", "1").code == 1
        (call,) = wait_for(lambda: list(ended), "it is told")
    finally:
        made.stop()
    assert call.error is not None
    assert call.error.reason is reason
    assert call.seconds["total"] > 0


def test_each_reason_has_a_cause_here_and_a_text() -> None:
    tested = {reason for reason, _ in CAUSES.values()}
    tested |= {PodReason.OTHER_PLUGIN_FIRST, PodReason.HOST_PORT_IN_USE}
    tested |= {PodReason.TOO_MANY_HOST_PORTS}
    tested |= {PodReason.TOO_MANY_PODS_WAIT, PodReason.AGENT_FAILED}
    tested |= WITH_ADDRESS  # test_agent_options.py
    assert tested == set(PodReason) == POD_REASONS.keys()
    assert set(NodeReason) == NODE_REASONS.keys()
    assert all(e.meaning and e.remedy for e in (*POD_REASONS.values(), *NODE_REASONS.values()))


def test_a_sandbox_that_has_ended_and_other_calls_are_no_event(tmp_path: Path) -> None:
    parts = AgentParts(tmp_path)
    with_node(parts)
    parts.create_objects()
    variables = environment(parts, pod(parts))
    parts.netns("c1").unlink()
    request = parse(variables, msgspec.json.encode(CONFIG))
    with pytest.raises(CNIError) as raised:
        handle_directly(parts.commands, request)
    gone = EndedCall(variables, raised.value, {})
    refused = CNIError(raised.value.code, "no", reason=PodReason.JOURNAL_FAILED)
    deleted = EndedCall(variables | {"CNI_COMMAND": "DEL"}, refused, {})
    succeeded = EndedCall(variables, None, {})
    nameless = EndedCall({"CNI_COMMAND": "ADD"}, refused, {})
    assert recorded(parts, gone, deleted, succeeded, nameless) == []


def test_tries_that_fail_with_other_addresses_are_equal_events_and_other_causes_are_not(
    tmp_path: Path,
) -> None:
    parts = AgentParts(tmp_path)
    with_node(parts)
    parts.create_objects()
    uid = pod(parts)
    parts.datapath.refused = "add route 10.98.0.5: no buffer space"
    first = failed_add(parts, uid)
    parts.datapath.refused = "add route 10.98.0.6: no buffer space"
    second = failed_add(parts, uid)
    parts.datapath.refused = ""
    parts.datapath.nics.clear()
    third = failed_add(parts, uid)
    one, two, three = recorded(parts, first, second, third)
    assert one == two != three
    assert one.note != two.note
