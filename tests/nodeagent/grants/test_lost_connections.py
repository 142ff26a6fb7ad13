"""The journal has a grant, but has lost that its ADD succeeded: its pod runs on."""

from pathlib import Path

import msgspec
import pytest

from openeni_crds import names
from openeni_crds.meta import decode
from openeni_crds.podip import PodIP
from openeni_nodeagent.attachments import repair
from openeni_nodeagent.grants.adoption import (
    CONFIRM_SECONDS,
    Adopt,
    EndGrant,
    NodeObservation,
    ObservedPod,
    plan_repair,
)
from openeni_nodeagent.grants.grant import Attachment
from openeni_nodeagent.grants.journal import Granted, encode
from openeni_testing.agent.clock import Clock
from openeni_testing.agent.node_objects import granted
from openeni_testing.agent.parts import AgentParts
from openeni_testing.objects import podip_body

A, DEVICE = "10.98.0.5", "oe5d1b"
SHOWN, SILENT = frozenset({A}), frozenset[str]()
PODIP = decode(podip_body("web"), PodIP)
LOST = granted(Attachment(PODIP.spec.pod_uid, PODIP.spec.container_id, "eth0"), A)


def podip(container: str = LOST.attachment.container_id, device: str = DEVICE) -> PodIP:
    """The pod's PodIP, as it names a container and its device."""
    status = msgspec.structs.replace(PODIP.status, host_interface=device, gateway="169.254.1.1")
    spec = msgspec.structs.replace(PODIP.spec, container_id=container)
    return msgspec.structs.replace(PODIP, spec=spec, status=status)


def observed(addresses: frozenset[str], *podips: PodIP) -> NodeObservation:
    """The node with its one pod, whose status has these addresses."""
    uid = LOST.attachment.pod_uid
    return NodeObservation(
        grants=(LOST,),
        kernel={A: DEVICE},
        unexplained=frozenset(),
        podips=podips,
        pods={uid: ObservedPod(uid, addresses, "default/web")},
        living=frozenset({LOST.attachment}),
        ready=frozenset({LOST.attachment}),
        enis={},
        cool_downs={},
    )


@pytest.mark.parametrize(
    ("found", "gateway"),
    [
        pytest.param(observed(SILENT, podip()), ("169.254.1.1",), id="its PodIP"),
        pytest.param(observed(SHOWN), (), id="its pod's status, where there is no PodIP"),
    ],
)
def test_a_grant_whose_add_has_succeeded_is_adopted(
    found: NodeObservation, gateway: tuple[str, ...]
) -> None:
    """By what shows it."""
    full = msgspec.structs.replace(LOST, connected=True, host_interface=DEVICE, gateway=gateway)
    assert plan_repair(found) == (Adopt(full, LOST),)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(observed(SILENT), id="nothing shows the address"),
        pytest.param(observed(SHOWN, podip("c0")), id="the pod's last sandbox had the address"),
        pytest.param(observed(SHOWN, podip(device="")), id="the pod waits for the address"),
    ],
)
def test_the_grant_of_an_add_that_has_failed_is_not(found: NodeObservation) -> None:
    assert [type(action) for action in plan_repair(found)] == [EndGrant]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.of(monkeypatch, repair)


def damage(journal: Path, record: Granted) -> None:
    content = journal.read_bytes()
    line = encode(record)
    assert content.count(line) == 1
    journal.write_bytes(content.replace(line, line[:20] + b"~" + line[21:]))


def test_a_pod_whose_connection_is_lost_runs_on(tmp_path: Path, clock: Clock) -> None:
    parts = AgentParts(tmp_path)
    parts.create_objects()
    grant = parts.grant("web", "c1")
    parts.publisher.reconcile("default/web")
    parts.sync()
    damage(tmp_path / "journal", Granted(grant))
    fresh = parts.restarted()
    assert fresh.journal.state.damaged == 1
    for _ in range(2):
        fresh.sync()
        clock.now += CONFIRM_SECONDS
    assert fresh.grants.all() == (grant,)
    assert fresh.datapath.owners() == {grant.addresses[0]: "c1"}
    assert fresh.store.get(names.PODIPS, "web", "default")


def test_a_container_that_is_at_work_is_left_alone_until_later(tmp_path: Path) -> None:
    """An ADD that is repeated may still fail, and a DEL is about to end the grant."""
    parts = AgentParts(tmp_path)
    parts.create_objects()
    grant = parts.grant("web", "c1")
    parts.publisher.reconcile("default/web")
    lost = msgspec.structs.replace(grant, connected=False)
    parts.grants.adopt(lost)
    with parts.locks.locked("c1"):
        parts.sync()
        assert parts.grants.all() == (lost,)
    parts.sync()
    assert parts.grants.all() == (grant,)
