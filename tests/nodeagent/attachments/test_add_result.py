"""The result of ADD lists what the attachment has made; CHECK takes that of an earlier version."""

import time
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from openeni_crds.datapath_mode import DatapathMode
from openeni_nodeagent.attachments.add_result import add_result
from openeni_nodeagent.attachments.detacher import pod_interface
from openeni_nodeagent.cni.call import Call
from openeni_nodeagent.cni.parsing import parse
from openeni_nodeagent.cni.previous_result import differences
from openeni_nodeagent.cni.protocol import (
    Command,
    Config,
    PrevInterface,
    PrevIP,
    PrevResult,
    Request,
)
from openeni_nodeagent.cni.results import AddResult
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.phases import Stopwatch
from openeni_testing.agent.cni_call import CONFIG
from openeni_testing.agent.failed_adds import call, environment, failed_add, pod, with_node
from openeni_testing.agent.parts import AgentParts

IPVLAN = [mode for mode in DatapathMode if mode != DatapathMode.VETH]


def result(folder: Path, mode: str) -> AddResult:
    parts = AgentParts(folder)
    parts.create_objects()
    grant = replace(parts.grant("web", "c1", "uid"), datapath_mode=mode)
    facts = parts.grants.facts_of(grant)
    assert facts is not None
    request = Request(
        Command.ADD, "c1", "eth0", "/ns", "uid", "default", "web", Config("1.1.0", "openeni")
    )
    return add_result(request, grant, parts.datapath.network(pod_interface(grant, facts)))


def test_both_ends_of_a_veth_pair_are_listed_with_their_mtu(tmp_path: Path) -> None:
    made = result(tmp_path, DatapathMode.VETH)
    assert made.host is not None
    assert (made.host.name, made.host.sandbox) == ("oec1", "")
    assert made.host.mtu == made.pod.mtu > 0


@pytest.mark.parametrize("mode", IPVLAN)
def test_the_slave_that_all_pods_share_is_not_listed(tmp_path: Path, mode: str) -> None:
    made = result(tmp_path, mode)
    assert (made.host, made.pod.name) == (None, "eth0")


def test_a_pod_from_the_time_when_the_slave_was_listed_has_no_difference(tmp_path: Path) -> None:
    made = result(tmp_path, DatapathMode.IPVLAN_L2)
    pod = PrevInterface("eth0", made.pod.mac, "/ns")
    ips = (PrevIP(f"{made.addresses[0]}/32", 1),)
    assert differences(PrevResult((PrevInterface("oeni-7", made.pod.mac), pod), ips), made) == ()
    moved = PrevResult((PrevInterface("oeni-7"), pod), (PrevIP("10.98.0.99/32", 1),))
    assert len(differences(moved, made)) == 1


def agent(folder: Path) -> tuple[AgentParts, list[Grant]]:
    """Return the parts of an agent, and the grants that its listeners are told of."""
    parts, notified = AgentParts(folder), list[Grant]()
    with_node(parts)
    parts.create_objects()
    parts.grants.subscribe(notified.append)
    return parts, notified


def test_an_address_is_announced_once_its_add_has_been_answered(tmp_path: Path) -> None:
    parts, notified = agent(tmp_path)
    request = parse(environment(parts, pod(parts)), msgspec.json.encode(CONFIG))
    answered = Call(request, time.monotonic(), Stopwatch(), lambda: True)
    answer = msgspec.json.decode(parts.commands.handle(answered))
    assert (parts.datapath.announced, notified) == ([], [])
    for work in answered.deferred:
        work()
    (grant,) = notified
    assert parts.datapath.announced == [grant.addresses]
    assert [ip["address"] for ip in answer["ips"]] == [f"{grant.addresses[0]}/32"]


def test_an_add_that_has_failed_announces_nothing(tmp_path: Path) -> None:
    parts, notified = agent(tmp_path)
    parts.datapath.build_fails = "EBUSY"
    failed_add(parts, pod(parts))
    assert parts.datapath.announced == []
    assert len(notified) == 2, "of the end of its grant, and of the ADD"


def test_an_address_whose_del_has_come_is_not_announced(tmp_path: Path) -> None:
    parts, _ = agent(tmp_path)
    uid = pod(parts)
    request = parse(environment(parts, uid), msgspec.json.encode(CONFIG))
    answered = Call(request, time.monotonic(), Stopwatch(), lambda: True)
    parts.commands.handle(answered)
    call(parts, "DEL", uid)
    for work in answered.deferred:
        work()
    assert parts.datapath.announced == []
