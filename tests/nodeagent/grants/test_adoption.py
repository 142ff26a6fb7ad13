"""Differences between journal, kernel, PodIPs and pods, and what follows from each."""

from dataclasses import replace

import msgspec
import pytest

from openeni_crds.meta import decode
from openeni_crds.podip import PodIP
from openeni_nodeagent.grants.adoption import (
    Adopt,
    Disown,
    End,
    Finding,
    NodeObservation,
    Reconnect,
    findings,
)
from openeni_nodeagent.grants.ledger import Grant, Holder
from openeni_testing.objects import podip_body

A, B = "10.98.0.5", "10.98.0.6"
GRANT = Grant(
    Holder("uid", "c1", "eth0"),
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
)


def kinds(observed: NodeObservation) -> list[type[Finding]]:
    return [type(finding) for finding in findings(observed)]


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
            [End],
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
            [Disown],
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
def test_each_difference_has_its_finding(
    observed: NodeObservation, found: list[type[Finding]]
) -> None:
    assert kinds(observed) == found


def test_an_adopted_grant_is_made_from_the_podip() -> None:
    (finding,) = findings(replace(AGREED, grants=(), reserved=frozenset({A}), mtus={"x": 9000}))
    assert isinstance(finding, Adopt)
    assert finding.grant.holder == Holder(PODIP.spec.pod_uid, "5d1b", "eth0")
    assert finding.grant.addresses == PODIP.spec.addresses
    assert finding.grant.connected
