"""Differences between journal, kernel, PodIPs and pods, and what follows from each."""

from dataclasses import replace

import msgspec
import pytest

from openeni_crds.meta import decode
from openeni_crds.podip import PodIP
from openeni_nodeagent.grants.adoption import (
    Adopt,
    AdoptedENI,
    EndGrant,
    NodeObservation,
    ObservedPod,
    RemoveStrayAddress,
    RepairAction,
    plan_repair,
)
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.pod_options import PortMapping, Transport
from openeni_testing.agent.node_objects import granted
from openeni_testing.objects import podip_body

A, B = "10.98.0.5", "10.98.0.6"
A6 = "2001:db8::5"
UID = "2f1f9a3e-6d0e-4c39-9a35-8c1c7d7f5e05"
DEVICE = "oe5d1b"
NAME = "default/web"
GRANT = granted(Attachment(UID, "5d1b", "eth0"), A, connected=True, host_interface=DEVICE)


def podip(name: str = "web", uid: str = UID, device: str = DEVICE, **spec: str) -> PodIP:
    """A PodIP as an agent has published it."""
    body = podip_body(name)
    body["spec"] |= {"podUID": uid} | spec
    body["status"] = {"hostInterface": device, "podInterface": "eth0"}
    return decode(body, PodIP)


PODIP = podip()
AGREED = NodeObservation(
    grants=(GRANT,),
    kernel={A: DEVICE},
    unexplained=frozenset(),
    podips=(PODIP,),
    pods={UID: ObservedPod(UID, frozenset({A}), NAME)},
    living=frozenset({GRANT.attachment}),
    ready=frozenset({GRANT.attachment}),
    enis={},
    cool_downs={},
)
LOST = replace(AGREED, grants=(), unexplained=frozenset({A}))  # by the journal
NOTHING_LIVES = replace(AGREED, living=frozenset(), pods={})
FORGED = {"f00d": ObservedPod(UID, frozenset(), "tenant/web")}  # by an annotation of its own


def kinds(observed: NodeObservation) -> list[type[RepairAction]]:
    return [type(action) for action in plan_repair(observed)]


def changed(**fields: object) -> tuple[Grant, ...]:
    return (msgspec.structs.replace(GRANT, **fields),)


FAILED = replace(AGREED, grants=changed(connected=False), podips=(), pods={})


@pytest.mark.parametrize(
    ("observed", "found"),
    [
        pytest.param(AGREED, [], id="all agree"),
        pytest.param(
            replace(AGREED, kernel={}, ready=frozenset()), [], id="its ENI's link is not ready"
        ),
        pytest.param(
            replace(AGREED, kernel={}, living=frozenset()),
            [],
            id="the pod is known but its namespace has gone: its DEL will come",
        ),
        pytest.param(replace(AGREED, pods={}), [], id="the pod is unknown, its namespace lives"),
        pytest.param(NOTHING_LIVES, [EndGrant], id="neither pod nor namespace is there"),
        pytest.param(replace(NOTHING_LIVES, pods=FORGED), [EndGrant], id="but an annotation is"),
        pytest.param(
            replace(NOTHING_LIVES, ready=frozenset()), [EndGrant], id="nor is the ENI's link ready"
        ),
        pytest.param(FAILED, [EndGrant], id="its ADD has failed, and nothing was done about it"),
        pytest.param(
            replace(FAILED, ready=frozenset()),
            [],
            id="its ADD has failed, and its ENI's link is not ready",
        ),
        pytest.param(
            replace(FAILED, living=frozenset(), ready=frozenset()),
            [EndGrant],
            id="the same, and neither pod nor namespace is there",
        ),
        pytest.param(
            replace(AGREED, grants=changed(netns="", netns_id=None), living=frozenset()),
            [],
            id="an adopted grant, whose namespace is not known",
        ),
        pytest.param(
            replace(NOTHING_LIVES, grants=changed(netns="", netns_id=None)),
            [EndGrant],
            id="the pod of an adopted grant has gone",
        ),
        pytest.param(LOST, [Adopt], id="the journal lost it"),
        pytest.param(replace(LOST, podips=()), [], id="its pod shows it, but no PodIP does"),
        pytest.param(
            replace(LOST, podips=(), pods={}), [RemoveStrayAddress], id="nobody can be its owner"
        ),
        pytest.param(
            replace(LOST, pods={}), [RemoveStrayAddress], id="the pod of its PodIP has gone"
        ),
    ],
)
def test_each_difference_has_its_action(
    observed: NodeObservation, found: list[type[RepairAction]]
) -> None:
    assert kinds(observed) == found


def test_an_adopted_grant_has_the_host_ports_that_lead_to_its_addresses() -> None:
    ports = PortMapping(8080, 80, Transport.TCP), PortMapping(53, 53, Transport.UDP)
    lost = replace(LOST, host_ports={A: ports[:1], B: ports[1:]})
    (found,) = plan_repair(lost)
    assert isinstance(found, Adopt)
    assert found.grant.host_ports == ports[:1]


def deleting(of: PodIP) -> PodIP:
    meta = msgspec.structs.replace(of.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    return msgspec.structs.replace(of, metadata=meta)


# Two pods, of whose addresses kubelet has not reported any.
SILENT = {
    UID: ObservedPod(UID, frozenset(), NAME),
    "other": ObservedPod("other", frozenset(), "default/b"),
}


@pytest.mark.parametrize(
    "observed",
    [
        pytest.param(replace(LOST, podips=(deleting(PODIP),)), id="the PodIP is being deleted"),
        pytest.param(replace(LOST, kernel={A: "oe0123"}), id="another device has the address"),
        pytest.param(replace(LOST, podips=(podip(device=""),)), id="the PodIP names no device"),
        pytest.param(
            replace(LOST, pods={UID: ObservedPod(UID, frozenset({B}), NAME)}),
            id="the pod shows another address",
        ),
        pytest.param(
            replace(
                LOST,
                pods={
                    UID: ObservedPod(UID, frozenset(), NAME),
                    "other": ObservedPod("other", frozenset({A}), "default/b"),
                },
            ),
            id="another pod shows the address",
        ),
        pytest.param(
            replace(LOST, grants=changed(addresses=(B,), host_interface="")),
            id="the container has a grant of another address",
        ),
        pytest.param(
            replace(
                LOST,
                grants=changed(addresses=(B,), attachment=Attachment("other", "c2", "eth0")),
            ),
            id="another grant has the device",
        ),
        pytest.param(
            replace(
                LOST,
                kernel={A: DEVICE, A6: "oe0123"},
                podips=(podip(addressIPv6=A6),),
                grants=changed(
                    addresses=(B, A6),
                    attachment=Attachment("other", "c2", "eth0"),
                    host_interface="oe0123",
                ),
            ),
            id="another grant has its address of the other family",
        ),
        pytest.param(
            replace(
                LOST,
                pods=SILENT,
                podips=(PODIP, podip("b", "other", containerID="c2")),
            ),
            id="two PodIPs claim the address",
        ),
        pytest.param(
            replace(
                LOST,
                unexplained=frozenset({A, B}),
                kernel={A: DEVICE, B: DEVICE},
                pods=SILENT,
                podips=(PODIP, podip("b", "other", address=B, containerID="c2")),
            ),
            id="two PodIPs claim the device",
        ),
        pytest.param(
            replace(
                LOST,
                unexplained=frozenset({A, A6}),
                kernel={A: DEVICE, A6: DEVICE},
                pods=SILENT,
                podips=(
                    podip(addressIPv6=A6),
                    podip("b", "other", address=B, addressIPv6=A6, containerID="c2"),
                ),
            ),
            id="two PodIPs claim the address of one family",
        ),
    ],
)
def test_nothing_is_adopted_and_nothing_removed_where_the_owner_is_in_doubt(
    observed: NodeObservation,
) -> None:
    assert not {Adopt, RemoveStrayAddress} & set(kinds(observed))


def test_of_two_podips_the_one_whose_pod_shows_the_address_is_adopted() -> None:
    pods = SILENT | {UID: ObservedPod(UID, frozenset({A}), NAME)}
    other = podip("b", "other", containerID="c2")
    (action,) = plan_repair(replace(LOST, pods=pods, podips=(other, PODIP)))
    assert isinstance(action, Adopt)
    assert action.grant.name == "web"


def test_the_podip_of_a_pod_that_has_gone_keeps_no_living_pod_from_its_address() -> None:
    stale = podip("a-old", "gone", device="oeold", containerID="c1")
    (action,) = plan_repair(replace(LOST, podips=(stale, PODIP)))
    assert isinstance(action, Adopt)
    assert action.grant.name == "web"


def test_ipvlan_pods_of_one_eni_share_their_device() -> None:
    mine = podip(datapathMode="IPVlanL2", device="oeipvl3")
    other = podip("b", "other", "oeipvl3", address=B, containerID="c2", datapathMode="IPVlanL2")
    observed = replace(
        LOST,
        unexplained=frozenset({A, B}),
        kernel={A: "oeipvl3", B: "oeipvl3"},
        pods=SILENT,
        podips=(mine, other),
    )
    assert kinds(observed) == [Adopt, Adopt]


def test_an_adopted_grant_is_made_from_the_podip() -> None:
    (action,) = plan_repair(replace(LOST, enis={PODIP.spec.eni_name: AdoptedENI(9000, "port")}))
    assert isinstance(action, Adopt)
    grant = action.grant
    assert grant.attachment == GRANT.attachment
    assert grant.addresses == PODIP.spec.addresses
    assert grant.connected
    assert (grant.mtu, grant.port, grant.host_interface) == (9000, "port", DEVICE)


def test_the_adopted_grant_of_a_static_pod_has_the_runtimes_uid() -> None:
    """Or the next ADD of the container would be another pod's."""
    (action,) = plan_repair(replace(LOST, pods={UID: ObservedPod("9d1f0a7c", frozenset(), NAME)}))
    assert isinstance(action, Adopt)
    assert action.grant.attachment.pod_uid == "9d1f0a7c"
    assert action.grant.api_uid == UID


@pytest.mark.parametrize(
    ("cool_downs", "cool_down"),
    [
        pytest.param({PODIP.spec.pool_name: 900.0, "others": 30.0}, 900.0, id="of its pool"),
        pytest.param({"others": 30.0}, 3600.0, id="the longest of the API for an unknown pool"),
    ],
)
def test_an_adopted_grant_has_the_cool_down_of_its_pool(
    cool_downs: dict[str, float], cool_down: float
) -> None:
    (action,) = plan_repair(replace(LOST, cool_downs=cool_downs))
    assert isinstance(action, Adopt)
    assert action.grant.cool_down == cool_down
