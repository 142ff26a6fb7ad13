"""The plan for PodIPs: release those of deleted nodes, report lost addresses."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from openeni_crds.conditions import Condition, Reason, Type, condition, is_true, merge
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode, encode
from openeni_crds.names import FINALIZER_PODIP
from openeni_crds.podip import PodIP
from openeni_operator.podip.plan import (
    RemovePodIPFinalizer,
    SetAddressLost,
    matters_whether_eni_is_gone,
    own_conditions,
    plan_podip,
)
from openeni_testing.objects import eni_body, podip_body

NOW = "2026-01-01T00:00:00Z"
LOST = condition(Type.ADDRESS_LOST, Reason.PORT_LOST, status=True)
FOUND = condition(Type.ADDRESS_LOST, Reason.ASSIGNED, status=False)
PORT_LOST = condition(Type.PORT_READY, Reason.PORT_LOST, status=False)
WITHOUT_POD = condition(Type.DATAPATH_READY, Reason.RETAINED, status=False)
OTHER = condition(Type.PORT_READY, Reason.QUOTA_EXCEEDED, status=False)


def podip(*conditions: Condition, node: str = "n1", finalizer: bool = True) -> PodIP:
    body = podip_body("web", node=node)
    body["spec"] |= {"eniName": "pods-0", "address": "10.98.0.5", "addressIPv6": "fd98::5"}
    if finalizer:
        body["metadata"]["finalizers"] = [FINALIZER_PODIP]
    body["status"] = {"conditions": [encode(c) for c in merge((), conditions, NOW)]}
    return decode(body, PodIP)


def eni(*conditions: Condition, addresses: tuple[str, ...] | None = None) -> ENI:
    """Return an ENI with a port that has these addresses, or without a port."""
    body: Any = eni_body("pods-0")
    if addresses is not None:
        conditions = (condition(Type.PORT_READY, Reason.PORT_CREATED, status=True),)
    status: Json = {"conditions": [encode(c) for c in merge((), conditions, NOW)]}
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
        pytest.param(podip(), eni(addresses=BOTH), None, id="both addresses are on the port"),
        pytest.param(podip(), eni(addresses=BOTH[:1]), True, id="one is not on the port"),
        pytest.param(
            podip(LOST),
            eni(addresses=BOTH[:1]),
            None,
            id="one is not on the port, already reported",
        ),
        pytest.param(podip(LOST), eni(addresses=BOTH), False, id="both are back"),
        pytest.param(podip(FOUND), eni(addresses=BOTH), None, id="both are back, already reported"),
        pytest.param(podip(), eni(PORT_LOST), True, id="the port is lost"),
        pytest.param(podip(), eni(OTHER), True, id="and cannot be created anew"),
        pytest.param(podip(LOST), eni(), None, id="the operator has not looked for the port yet"),
        pytest.param(podip(), None, None, id="the ENI is unknown"),
    ],
)
def test_address_lost_is_written_when_it_changes_and_the_port_is_known(
    of: PodIP, on: ENI | None, lost: bool | None
) -> None:
    action = plan_podip(of, on, node_gone=False)
    if lost is None:
        assert action is None
        return
    assert isinstance(action, SetAddressLost)
    assert is_true([action.lost], Type.ADDRESS_LOST) is lost


def test_the_message_names_the_address_and_the_way_out() -> None:
    action = plan_podip(podip(), eni(addresses=BOTH[:1]), node_gone=False)
    assert isinstance(action, SetAddressLost)
    assert action.lost.message == (
        "fd98::5 is no longer on the port of ENI pods-0: restart the pod"
    )


@pytest.mark.parametrize(
    ("of", "told"),
    [
        pytest.param(podip(), True, id="a pod has the addresses"),
        pytest.param(podip(LOST), None, id="already reported"),
        pytest.param(podip(WITHOUT_POD), None, id="they are kept for the next pod"),
    ],
)
def test_the_addresses_of_an_eni_that_is_gone_are_lost(of: PodIP, told: bool | None) -> None:
    assert matters_whether_eni_is_gone(of) is (told is True)
    action = plan_podip(of, None, node_gone=False, eni_gone=True)
    assert (action is not None) is (told is True)
    if told:
        assert isinstance(action, SetAddressLost)
        assert action.lost.message == (
            "10.98.0.5, fd98::5 is lost, since ENI pods-0 is gone: restart the pod"
        )


def test_it_does_not_matter_to_a_podip_that_is_to_get_an_eni() -> None:
    of = podip()
    assert not matters_whether_eni_is_gone(
        structs.replace(of, spec=structs.replace(of.spec, eni_name=""))
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


@given(podips, enis, st.booleans())
def test_finalizers_are_removed_exactly_on_gone_nodes(
    of: PodIP, on: ENI | None, node_gone: bool
) -> None:
    action = plan_podip(of, on, node_gone=node_gone)
    released = node_gone and bool(of.metadata.finalizers)
    assert isinstance(action, RemovePodIPFinalizer) == released
    assert not (node_gone and isinstance(action, SetAddressLost))


@given(podips, enis)
def test_an_unchanged_condition_is_not_written_again(of: PodIP, on: ENI | None) -> None:
    action = plan_podip(of, on, node_gone=False)
    if action is None:
        return
    assert isinstance(action, SetAddressLost)
    body = podip_body("web")
    body["spec"] |= {"eniName": "pods-0", "address": BOTH[0], "addressIPv6": BOTH[1]}
    body["status"] = {
        "conditions": [encode(c) for c in merge(of.status.conditions, (action.lost,), NOW)]
    }
    assert plan_podip(decode(body, PodIP), on, node_gone=False) is None


def test_the_operators_conditions_are_written_together_and_the_agents_not_at_all() -> None:
    """Server-side apply takes away what a writer no longer names."""
    retained = condition(Type.RETAINED, Reason.RETAINED, status=True)
    agents = condition(Type.READY, Reason.RETAINED, status=False)
    found = own_conditions(podip(retained, agents, FOUND), (LOST,), "2026-02-02T00:00:00Z")
    assert found is not None
    assert [(c.type, c.status, c.last_transition_time) for c in found] == [
        (Type.ADDRESS_LOST, "True", "2026-02-02T00:00:00Z"),
        (Type.RETAINED, "True", NOW),
    ]
    assert own_conditions(podip(retained, agents, LOST), (LOST,), NOW) is None


def test_an_address_that_no_pod_has_is_not_lost() -> None:
    assert plan_podip(podip(WITHOUT_POD), eni(addresses=()), node_gone=False) is None
