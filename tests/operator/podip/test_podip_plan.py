"""PodIPs that need the operator: released with their node, written when their address is lost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_crds.conditions import Condition, Reason, Type, condition, is_true, merge
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode, encode
from openeni_crds.names import FINALIZER_PODIP
from openeni_crds.podip import PodIP
from openeni_operator.podip.plan import ReleasePodIP, SetAddressLost, plan_podips
from openeni_testing.objects import eni_body, podip_body

NOW = "2026-01-01T00:00:00Z"
LOST = condition(Type.ADDRESS_LOST, Reason.PORT_LOST, status=True)
FOUND = condition(Type.ADDRESS_LOST, Reason.ASSIGNED, status=False)
PORT_LOST = condition(Type.PORT_READY, Reason.PORT_LOST, status=False)
OTHER = condition(Type.PORT_READY, Reason.QUOTA_EXCEEDED, status=False)


def podip(*said: Condition, node: str = "n1", finalizer: bool = True) -> PodIP:
    body = podip_body("web", node=node)
    body["spec"] |= {"eni": "pods-0", "addresses": ["10.98.0.5", "fd98::5"]}
    if finalizer:
        body["metadata"]["finalizers"] = [FINALIZER_PODIP]
    body["status"] = {"conditions": [encode(c) for c in merge((), said, NOW)]}
    return decode(body, PodIP)


def eni(*said: Condition, addresses: tuple[str, ...] | None = None) -> ENI:
    """With a port that has these addresses, or without one."""
    body: Any = eni_body("pods-0")
    status: Json = {"conditions": [encode(c) for c in merge((), said, NOW)]}
    if addresses is not None:
        status["port"] = {
            "id": "p",
            "name": "openeni-1",
            "macAddress": "fa:16:3e:00:00:01",
            "revision": 1,
            "mtu": 1450,
            "subnets": [{"id": "s", "cidr": "10.98.0.0/24"}],
            "primary": ["10.98.0.4"],
            "addresses": list(addresses),
        }
    return decode(body | {"status": status}, ENI)


BOTH = ("10.98.0.5", "fd98::5")


@pytest.mark.parametrize(
    ("of", "on", "lost"),
    [
        pytest.param(podip(), eni(addresses=BOTH), None, id="its addresses are on the port"),
        pytest.param(podip(), eni(addresses=BOTH[:1]), True, id="one is not"),
        pytest.param(podip(LOST), eni(addresses=BOTH[:1]), None, id="which is said already"),
        pytest.param(podip(LOST), eni(addresses=BOTH), False, id="they are back"),
        pytest.param(podip(FOUND), eni(addresses=BOTH), None, id="which is said already, too"),
        pytest.param(podip(), eni(PORT_LOST), True, id="the port is lost"),
        pytest.param(podip(), eni(OTHER), None, id="the port is not there for another reason"),
        pytest.param(podip(LOST), eni(), None, id="nothing is known of the port"),
        pytest.param(podip(), None, None, id="nothing is known of the ENI"),
    ],
)
def test_whether_an_address_is_lost_is_said_where_it_is_known(
    of: PodIP, on: ENI | None, lost: bool | None
) -> None:
    actions = plan_podips([of], frozenset(), {"pods-0": on} if on else {})
    written = [action.lost for action in actions if isinstance(action, SetAddressLost)]
    assert len(written) == len(actions)
    assert [is_true(written, Type.ADDRESS_LOST)] * len(written) == ([] if lost is None else [lost])


def test_the_author_is_told_which_address_and_what_to_do() -> None:
    (action,) = plan_podips([podip()], frozenset(), {"pods-0": eni(addresses=BOTH[:1])})
    assert isinstance(action, SetAddressLost)
    assert action.lost.message == (
        "fd98::5 is no longer on the port of ENI pods-0: restart the pod"
    )


podips = st.builds(
    podip,
    st.sampled_from([LOST, FOUND]),
    node=st.sampled_from(["n1", "n2"]),
    finalizer=st.booleans(),
)
enis = st.none() | st.builds(
    eni,
    st.sampled_from([PORT_LOST, OTHER]),
    addresses=st.none() | st.lists(st.sampled_from(BOTH), unique=True).map(tuple),
)


@given(st.lists(podips, max_size=5), st.frozensets(st.sampled_from(["n1", "n2"])), enis)
def test_a_finalizer_goes_exactly_where_the_node_has_gone(
    given_podips: list[PodIP], gone: frozenset[str], on: ENI | None
) -> None:
    actions = plan_podips(given_podips, gone, {"pods-0": on} if on else {})
    released = [action.podip for action in actions if isinstance(action, ReleasePodIP)]
    assert released == [
        p for p in given_podips if p.spec.node_name in gone and p.metadata.finalizers
    ]
    assert not any(
        action.podip.spec.node_name in gone
        for action in actions
        if isinstance(action, SetAddressLost)
    )


@given(podips, enis)
def test_what_was_said_is_not_said_again(of: PodIP, on: ENI | None) -> None:
    known = {"pods-0": on} if on else {}
    for action in plan_podips([of], frozenset(), known):
        assert isinstance(action, SetAddressLost)
        body = podip_body("web")
        body["spec"] |= {"eni": "pods-0", "addresses": list(BOTH)}
        body["status"] = {
            "conditions": [encode(c) for c in merge(of.status.conditions, (action.lost,), NOW)]
        }
        assert plan_podips([decode(body, PodIP)], frozenset(), known) == ()
