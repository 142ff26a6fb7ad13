"""The operator's benchmark: what its agents report on an ENI, and the objects it makes."""

from typing import Any

import msgspec

from openeni_crds.conditions import Reason, Status, Type, condition, find
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode, encode
from openeni_crds.podip import PodIP
from openeni_testing.objects import eni_body, port_status
from openeni_testing.operator_bench.agents import report_body
from openeni_testing.operator_bench.objects import (
    ENIS_PER_NODE,
    PODIPS_PER_NODE,
    podip_bodies,
    pods_on,
)

NOW = "2026-01-01T00:00:00Z"
NAME = "pods-0123abcd-0"
ADDRESSES = [f"10.98.0.{n}" for n in range(11, 26)]


ATTACHED = (
    condition(Type.PORT_READY, Reason.PORT_CREATED, status=True),
    condition(Type.ATTACHED, Reason.ATTACHED, status=True),
)


def eni(*, attached: bool = True, **reported: Any) -> ENI:
    """Return an ENI with a port, and with what its agent has reported."""
    body = eni_body(NAME)
    body["metadata"]["uid"] = "uid-1"
    shown = [encode(c) for c in ATTACHED if attached] + reported.pop("conditions", [])
    port = {**port_status("port"), "addresses": ADDRESSES}
    body["status"] = {"port": port, "conditions": shown, **reported}
    return decode(body, ENI)


def report(on: ENI, *, plugged: bool, more_pods: int = 0) -> Json:
    body = report_body(on, plugged=plugged, more_pods=more_pods, now=NOW)
    assert body is not None
    return body


def test_an_eni_without_a_port_gets_no_report() -> None:
    without = decode(eni_body(NAME), ENI)
    assert report_body(without, plugged=False, more_pods=0, now=NOW) is None


def test_before_its_nic_is_there_an_eni_is_prepared_only() -> None:
    seen = eni(**report(eni(), plugged=False)["status"])
    states = {c.type: c.status for c in seen.status.conditions if c not in ATTACHED}
    assert states == {
        Type.GUEST_PREPARED: Status.TRUE,
        Type.LINK_READY: Status.FALSE,
        Type.CNI_CONFIGURED: Status.TRUE,
    }
    assert seen.status.node is not None
    assert (seen.status.node.granted, seen.status.node.available) == (0, 0)


def test_an_agent_looks_for_the_nic_once_the_eni_is_attached_by_its_conditions() -> None:
    without = eni(attached=False)
    seen = eni(attached=False, **report(without, plugged=True)["status"])
    linked = find(seen.status.conditions, Type.LINK_READY)
    assert linked is not None
    assert (linked.status, linked.reason) == (Status.FALSE, Reason.WAITING_FOR_ATTACH)


def test_with_its_nic_an_eni_is_linked_and_its_counts_are_those_of_the_podips() -> None:
    seen = eni(**report(eni(), plugged=True)["status"])
    linked = find(seen.status.conditions, Type.LINK_READY)
    assert linked is not None
    assert (linked.status, linked.reason) == (Status.TRUE, Reason.LINK_UP)
    assert seen.status.node is not None
    assert (seen.status.node.granted, seen.status.node.available) == (13, 2)


def test_what_an_eni_shows_is_not_reported_again() -> None:
    seen = eni(**report(eni(), plugged=True)["status"])
    assert report_body(seen, plugged=True, more_pods=0, now="2026-01-01T00:01:00Z") is None
    assert report_body(seen, plugged=True, more_pods=1, now=NOW) is not None


def test_no_more_pods_are_reported_than_the_port_has_addresses() -> None:
    node = report(eni(), plugged=True, more_pods=9)["status"]["node"]
    assert node["granted"] == len(ADDRESSES)
    assert node["available"] == 0


def test_the_podips_of_a_node_have_addresses_of_their_enis() -> None:
    assert sum(pods_on(f"pods-0123abcd-{n}") for n in range(ENIS_PER_NODE)) == PODIPS_PER_NODE
    podips = [msgspec.convert(b["spec"], dict[str, str]) for b in podip_bodies(eni())]
    assert [p["address"] for p in podips] == ADDRESSES[:13]
    for body in podip_bodies(eni()):
        assert decode(body, PodIP).spec.eni_name == NAME
