"""Calls for the pod web, of which ADDs mostly fail, and the Events about it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
import pytest

from openeni_kube.event_series import Occurrence
from openeni_nodeagent.attachments.pod_events import PodEvents
from openeni_nodeagent.cni.call import EndedCall
from openeni_nodeagent.cni.parsing import parse
from openeni_nodeagent.cni.protocol import CNIError
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import CONFIG
from openeni_testing.agent.direct_call import handle_directly
from openeni_testing.agent.parts import AgentParts
from openeni_testing.controller.recorded_events import RecordedEvents

EMPTY: Final[Mapping[str, object]] = MappingProxyType({})


def environment(
    parts: AgentParts, uid: str, command: str = "ADD", container: str = "c1"
) -> dict[str, str]:
    netns = parts.netns(container)
    netns.touch()
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": str(netns),
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID={uid}",
    }


def call(
    parts: AgentParts,
    command: str,
    uid: str,
    container: str = "c1",
    *,
    config: Mapping[str, object] = EMPTY,
    alive: bool = True,
    seconds: float = 0.0,
) -> None:
    """Make a call with so many seconds, whose executable may be gone. Raises CNIError."""
    variables = environment(parts, uid, command, container)
    request = parse(variables, msgspec.json.encode({**CONFIG, **config}))
    handle_directly(parts.commands, request, seconds, lambda: alive)


def add(parts: AgentParts, uid: str, **config: object) -> None:
    """Make an ADD that fails at once where it would wait. Raises CNIError."""
    call(parts, "ADD", uid, config=config)


def failed_add(parts: AgentParts, uid: str, **config: object) -> EndedCall:
    with pytest.raises(CNIError) as raised:
        add(parts, uid, **config)
    return EndedCall(environment(parts, uid), raised.value, {"total": 1.0})


def recorded(parts: AgentParts, *calls: EndedCall) -> list[Occurrence]:
    events = RecordedEvents()
    made = PodEvents(events, parts.caches, parts.grants)
    for call in calls:
        made.note(call)
    return events.events


def with_node(parts: AgentParts) -> None:
    node_objects.make_node(parts.store)
    (node,) = parts.store.list(parts.caches.nodes.kind).items
    parts.caches.nodes.put(node)


def pod(parts: AgentParts, annotations: dict[str, str] | None = None) -> str:
    uid = node_objects.make_pod(parts.store, "web", annotations)
    parts.sync(look=False)
    return uid
