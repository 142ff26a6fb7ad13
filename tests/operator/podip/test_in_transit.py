"""Which addresses an ENI leaves alone, since they are on their way to another one."""

from collections.abc import Iterable
from typing import Any, Final

import pytest

from openeni_crds.conditions import Reason, Type
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIS, PODIPS, PODS, Kind
from openeni_operator.claims import in_transit
from openeni_operator.cluster_state import ClusterState
from openeni_testing.objects import condition, eni_body, podip_body, port_status

ADDRESS: Final = "10.98.0.5"
OTHER_NETWORK: Final = "7a7a2a52-5d0a-4c0c-8e44-0c2f8f5f1a02"


def an_eni(name: str = "old", *, port: Json | None = None, **spec: Any) -> Json:
    """Return an ENI whose port has one address for pods, and what of it is given."""
    body = eni_body(name)
    body["spec"] |= spec
    return body | {"status": {"port": port_status(name) | (port or {})}}


def without_port(name: str, node: str, pool: str = "pods") -> Json:
    return eni_body(name, node=node, pool=pool)


def a_podip(name: str, placed: str, **spec: str) -> Json:
    """Return a PodIP without an ENI, unless one is given."""
    body = podip_body(name, node="n2")
    body["spec"] |= {"eniName": "", **spec}
    body["status"] = {"conditions": [condition(Type.PLACED, "False") | {"reason": placed}]}
    return body


def transit_of(
    eni: Json,
    *others: Json,
    eni_name: str = "",
    placed: str = Reason.WAITING_FOR_ADDRESS,
    is_pending: bool = True,
) -> frozenset[str]:
    """Return what the ENI leaves alone while a pod waits on node n2 for its address.

    One that was started again may be no longer Pending. Of the other ENIs each is newer than those
    before. It does not matter what is seen first.
    """
    enis = [
        body | {"metadata": body["metadata"] | {"resourceVersion": str(version)}}
        for version, body in enumerate((an_eni(), eni, *others), start=1)
    ]
    kept = a_podip("kept", Reason.ADDRESS_NOT_ON_PORT, address="10.98.0.6")
    named = a_podip("named", Reason.RETAINED, address="10.98.0.7")
    podip = a_podip("web-0", placed, address=ADDRESS, eniName=eni_name)
    pod = {"metadata": {"name": "web-0", "namespace": "default"}, "spec": {"nodeName": "n2"}}
    objects = [*((ENIS, body) for body in enis), *((PODIPS, p) for p in (kept, named, podip))]
    objects += [(PODS, pod)] if is_pending else []
    enis_first, enis_last = (
        in_transit(state, decode(eni, ENI))
        for state in (state_of(objects), state_of([*objects[len(enis) :], *objects]))
    )
    assert enis_first == enis_last
    return enis_first


def state_of(objects: Iterable[tuple[Kind, Json]]) -> ClusterState:
    """Return what an operator knows that sees the objects in this order."""
    state = ClusterState(lambda _change: None)
    for kind, body in objects:
        state.put(kind, body)
    return state


@pytest.mark.parametrize(
    ("eni", "others"),
    [
        pytest.param(an_eni("any"), (), id="on the way to another node"),
        pytest.param(an_eni("any", nodeName="n2"), (), id="on the way to another ENI of its node"),
        pytest.param(an_eni("any", port={"releasing": [ADDRESS]}), (), id="about to leave it"),
        pytest.param(without_port("any", "n1"), (), id="before it has a port"),
        pytest.param(an_eni("any", poolName="other"), (), id="of another pool in its network"),
        pytest.param(
            without_port("any", "n2", "other"), (), id="on its node, of another pool in its network"
        ),
        pytest.param(
            an_eni("any"),
            (an_eni("far", poolName="far", port={"addresses": [ADDRESS]}),),
            id="an ENI of another pool has an equal one",
        ),
        pytest.param(
            an_eni("any"),
            (an_eni("new", port={"addresses": [ADDRESS]}), an_eni("new")),
            id="elsewhere no more",
        ),
    ],
)
def test_it_leaves_alone_what_is(eni: Json, others: tuple[Json, ...]) -> None:
    assert transit_of(eni, *others) == {ADDRESS}


@pytest.mark.parametrize(
    ("eni", "others"),
    [
        pytest.param(an_eni("any", port={"addresses": [ADDRESS]}), (), id="there"),
        pytest.param(an_eni("any"), (an_eni("new", port={"primary": [ADDRESS]}),), id="elsewhere"),
        pytest.param(without_port("any", "n2"), (), id="to come to this node's next port"),
        pytest.param(
            an_eni("any", poolName="other", networkID=OTHER_NETWORK), (), id="in another network"
        ),
        pytest.param(
            an_eni("any", port={"subnets": [{"id": "other", "cidr": "10.97.0.0/24"}]}),
            (),
            id="in another subnet",
        ),
    ],
)
def test_it_asks_for_any_address_while_one_is(eni: Json, others: tuple[Json, ...]) -> None:
    assert transit_of(eni, *others) == frozenset()


def test_the_eni_that_is_to_get_the_address_asks_for_others_too() -> None:
    assert transit_of(an_eni("new", nodeName="n2"), eni_name="new") == frozenset()


def test_a_claim_that_somebody_else_hinders_holds_nobody_up() -> None:
    assert transit_of(an_eni("any"), placed=Reason.WAITING_FOR_RELEASE) == {ADDRESS}
    assert transit_of(an_eni("any"), placed=Reason.ADDRESS_TAKEN) == frozenset()


@pytest.mark.parametrize("limit", [Reason.NODE_LIMIT, Reason.POOL_LIMIT])
def test_a_claim_that_finds_no_room_is_left_alone_too(limit: Reason) -> None:
    """There may be some in a moment: it is the pool that says that another node has none."""
    assert transit_of(an_eni("any"), placed=limit) == {ADDRESS}


def test_nor_does_it_matter_whether_the_pod_is_pending() -> None:
    """Its sandbox may have been started again."""
    assert transit_of(an_eni("any"), is_pending=False) == {ADDRESS}
    new = an_eni("new", nodeName="n2")
    assert transit_of(new, eni_name="new", is_pending=False) == frozenset()
