"""Differences between journal, kernel, PodIPs and pods, and what follows from each."""

from dataclasses import replace

import msgspec
import pytest

from openeni_crds.meta import decode
from openeni_crds.podip import PodIP
from openeni_nodeagent.grants.adoption import (
    Adopt,
    EndGrant,
    NodeObservation,
    Reconnect,
    RemoveStrayAddress,
    RepairAction,
    plan_repair,
)
from openeni_nodeagent.grants.ledger import Attachment, Grant
from openeni_testing.objects import podip_body

A, B = "10.98.0.5", "10.98.0.6"
GRANT = Grant(
    Attachment("uid", "c1", "eth0"),
    "default",
    "web",
    "/ns",
    "e",
    "pods",
    (A,),
    "Veth",
    1450,
    1,
    30,
    connected=True,
)
PODIP = decode(podip_body("web"), PodIP)
AGREED = NodeObservation(
    grants=(GRANT,),
    kernel=frozenset({A}),
    reserved=frozenset(),
    podips=(PODIP,),
    pod_uids=frozenset({"uid"}),
    pod_addresses=frozenset(),
    namespaces={"/ns": True},
    mtus={},
    cool_downs={},
)


def kinds(observed: NodeObservation) -> list[type[RepairAction]]:
    return [type(action) for action in plan_repair(observed)]


@pytest.mark.parametrize(
    ("observed", "found"),
    [
        pytest.param(AGREED, [], id="all agree"),
        pytest.param(
            replace(AGREED, kernel=frozenset()), [Reconnect], id="the datapath of a pod has gone"
        ),
        pytest.param(
            replace(AGREED, kernel=frozenset(), namespaces={"/ns": False}),
            [],
            id="the pod is known but its namespace has gone: its DEL will come",
        ),
        pytest.param(
            replace(AGREED, pod_uids=frozenset()), [], id="the pod is unknown, its namespace lives"
        ),
        pytest.param(
            replace(AGREED, pod_uids=frozenset(), namespaces={"/ns": False}),
            [EndGrant],
            id="neither pod nor namespace is there",
        ),
        pytest.param(
            replace(
                AGREED,
                grants=(msgspec.structs.replace(GRANT, connected=False),),
                kernel=frozenset(),
            ),
            [],
            id="an ADD is on its way",
        ),
        pytest.param(
            replace(AGREED, grants=(), reserved=frozenset({A})), [Adopt], id="the journal lost it"
        ),
        pytest.param(
            replace(AGREED, grants=(), reserved=frozenset({A}), podips=()),
            [RemoveStrayAddress],
            id="nobody can be its owner",
        ),
        pytest.param(
            replace(
                AGREED,
                grants=(),
                reserved=frozenset({A}),
                podips=(),
                pod_addresses=frozenset({A}),
            ),
            [],
            id="a pod shows the address: it is left alone",
        ),
        pytest.param(
            replace(AGREED, grants=(), reserved=frozenset({B}), kernel=frozenset({A})),
            [],
            id="the kernel has let it go by itself",
        ),
    ],
)
def test_each_difference_has_its_action(
    observed: NodeObservation, found: list[type[RepairAction]]
) -> None:
    assert kinds(observed) == found


def _reserved(*podips: PodIP, grants: tuple[Grant, ...] = ()) -> list[type[RepairAction]]:
    observed = replace(AGREED, grants=grants, reserved=frozenset({A}), podips=podips)
    return kinds(observed)


def test_a_podip_that_another_one_contradicts_decides_nothing() -> None:
    """Somebody with an agent's token may invent PodIPs: no pod may lose its address to one."""
    forged = msgspec.structs.replace(
        PODIP, spec=msgspec.structs.replace(PODIP.spec, container_id="forged", pod_uid="forged")
    )
    assert _reserved(PODIP) == [Adopt]
    assert _reserved(PODIP, forged) == []


def test_a_podip_takes_no_other_address_from_a_container_that_has_one() -> None:
    other = msgspec.structs.replace(
        GRANT,
        addresses=(B,),
        attachment=Attachment("uid", PODIP.spec.container_id, "eth0"),
    )
    assert Adopt not in _reserved(PODIP, grants=(other,))


def test_an_adopted_grant_is_made_from_the_podip() -> None:
    (action,) = plan_repair(replace(AGREED, grants=(), reserved=frozenset({A}), mtus={"x": 9000}))
    assert isinstance(action, Adopt)
    assert action.grant.attachment == Attachment(PODIP.spec.pod_uid, "5d1b", "eth0")
    assert action.grant.addresses == PODIP.spec.addresses
    assert action.grant.connected


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
    lost = replace(AGREED, grants=(), reserved=frozenset({A}), cool_downs=cool_downs)
    (action,) = plan_repair(lost)
    assert isinstance(action, Adopt)
    assert action.grant.cool_down == cool_down
