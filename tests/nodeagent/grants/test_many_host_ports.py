"""Pods with very many host ports: what their ADDs cost the others of their node."""

import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import pytest

from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.cni.runtime_config import MOST_HOST_PORTS
from openeni_nodeagent.event_reasons import PodReason
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.host_ports import MOST_OF_NODE
from openeni_nodeagent.grants.requests import GrantRequest
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.agent.parts import AgentParts

FULL = MOST_OF_NODE // MOST_HOST_PORTS  # pods


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    made = AgentParts(tmp_path)
    made.create_objects(count=2 * FULL)
    return made


def ports(pod: int, host_ip: str = "", count: int = MOST_HOST_PORTS) -> tuple[PortMapping, ...]:
    """Return ports that no other pod has."""
    first = 1 + pod * count
    return tuple(PortMapping(first + n, 1 + n, Transport.TCP, host_ip) for n in range(count))


def acquire(parts: AgentParts, name: str, wanted: tuple[PortMapping, ...]) -> Grant:
    request = GrantRequest(
        Attachment(f"uid-{name}", name, "eth0"),
        "default",
        name,
        "/ns",
        "pods",
        cool_down=30,
        asked_at=0.0,
        host_ports=wanted,
    )
    grant = parts.grants.acquire(request, 0.0, lambda: True)
    assert grant is not None
    return grant


def calls(parts: AgentParts, name: str, wanted: tuple[PortMapping, ...]) -> int:
    """Return how many calls of functions an ADD takes, the lock of all pods held for most."""
    counted = Counter[str]()

    def count(_: FrameType, event: str, __: object) -> None:
        counted[event] += 1

    sys.setprofile(count)
    try:
        acquire(parts, name, wanted)
    finally:
        sys.setprofile(None)
    return counted["call"] + counted["c_call"]


@pytest.mark.parametrize("host_ip", ["", "10.0.0.1"])
def test_an_adds_work_grows_with_its_own_ports_and_not_with_those_of_the_node(
    parts: AgentParts, host_ip: str
) -> None:
    few = calls(parts, "few", ports(0, host_ip, 8))
    alone = calls(parts, "alone", ports(1, host_ip))
    for number in range(2, FULL - 1):
        acquire(parts, f"p{number}", ports(number, host_ip))
    last = calls(parts, "last", ports(FULL - 1, host_ip))
    assert few < alone < 40 * MOST_HOST_PORTS
    assert last < 1.2 * alone


def test_one_port_of_very_many_addresses_is_compared_with_none_of_them(parts: AgentParts) -> None:
    def of(pod: int) -> tuple[PortMapping, ...]:
        return tuple(
            PortMapping(80, 80, Transport.TCP, f"10.0.{pod}.{n}") for n in range(MOST_HOST_PORTS)
        )

    acquire(parts, "first", of(0))
    second = calls(parts, "second", of(1))
    for number in range(2, FULL - 1):
        acquire(parts, f"p{number}", of(number))
    assert calls(parts, "last", of(FULL - 1)) < 1.2 * second


def test_a_node_gives_out_so_many_and_its_next_pod_waits_until_others_go(
    parts: AgentParts,
) -> None:
    grants = [acquire(parts, f"p{number}", ports(number)) for number in range(FULL)]
    one = (PortMapping(60_000, 80, Transport.UDP),)
    with pytest.raises(CNIError, match="no room for the 1 host ports of pod default/web") as full:
        acquire(parts, "web", one)
    assert full.value.code == Code.TRY_AGAIN
    assert full.value.reason is PodReason.TOO_MANY_HOST_PORTS
    assert f"have {MOST_OF_NODE}, and openeni gives out {MOST_OF_NODE}" in full.value.details
    assert acquire(parts, "plain", ()).addresses
    assert acquire(parts, "p0", ports(0)) == grants[0]  # the same ADD, repeated
    parts.detacher.delete("p1", "eth0", "")
    assert acquire(parts, "web", one).host_ports == one


def test_the_next_sandbox_of_a_pod_needs_no_room_for_both(parts: AgentParts) -> None:
    for number in range(FULL):
        acquire(parts, f"p{number}", ports(number))
    request = GrantRequest(
        Attachment("uid-p0", "next", "eth0"),
        *("default", "p0", "/ns", "pods"),
        cool_down=30,
        asked_at=0.0,
        host_ports=ports(0),
    )
    assert parts.grants.acquire(request, 0.0, lambda: True) is not None
    earlier = parts.grants.find("p0", "eth0")
    assert earlier is not None
    assert earlier.host_ports == ()


def test_pods_of_an_agent_without_a_limit_keep_their_ports(parts: AgentParts) -> None:
    old = acquire(parts, "old", ())
    grant = parts.grants.find("old", "eth0")
    assert grant == old
    many = ports(0, count=MOST_OF_NODE + 1)
    parts.grants.adopt(
        Grant(
            old.attachment,
            *("default", "old", "/ns", old.eni, old.pool, old.addresses),
            old.datapath_mode,
            old.mtu,
            at=0.0,
            cool_down=30,
            host_ports=many,
        )
    )
    again = parts.restarted()
    found = again.grants.find("old", "eth0")
    assert found is not None
    assert found.host_ports == many
