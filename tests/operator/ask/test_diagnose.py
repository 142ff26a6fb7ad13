"""What differs between objects, Neutron and Nova is named, and what agrees is not."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from openeni_crds.conditions import Reason
from openeni_crds.meta import Json
from openeni_crds.names import ENIS, NODES, PODIPS, PODS, Kind, port_tags
from openeni_crds.reasons import REASONS
from openeni_kube.answers import Diagnosis, confirmed, difference
from openeni_operator.cloud.api import FixedIP, Port
from openeni_operator.cloud.errors import CloudUnreachableError
from openeni_testing.controller.asked import ask_diagnose, found
from openeni_testing.controller.orphans import leak_port
from openeni_testing.controller.process import CLUSTER_ID
from openeni_testing.controller.simulation import Simulation
from openeni_testing.objects import podip_body


@pytest.fixture
def sim() -> Simulation:
    """Return a Ready pool on two nodes."""
    made = Simulation(nodes=2)
    made.add_pool()
    made.settle()
    assert len(made.ready()) == 2
    made.cloud.calls.clear()
    return made


def change(sim: Simulation, **changes: Any) -> tuple[str, Port]:
    """Change the port of the first ENI behind the operator's back; return the ENI's name."""
    eni = sim.enis()[0]
    assert eni.status.port is not None
    port = sim.cloud.ports[eni.status.port.id]
    changed = replace(port, **changes)
    sim.cloud.ports[port.id] = changed
    return eni.name, changed


def grant(sim: Simulation, pod: str = "web") -> tuple[str, str]:
    """Put the PodIP of an address of the first ENI; return the ENI's name and the address."""
    eni = sim.enis()[0]
    assert eni.status.port is not None
    address = eni.status.port.addresses[0]
    body = podip_body(pod, node=eni.spec.node_name)
    body["spec"] |= {"eniName": eni.name, "address": address}
    sim.api.create(PODIPS, body)
    return eni.name, address


def test_what_agrees_is_no_difference(sim: Simulation) -> None:
    grant(sim)
    answer = ask_diagnose(sim)
    assert (found(answer), answer.unread) == ([], ())
    assert answer.compared == {"ENIs": 2, "ports": 2, "PodIPs": 1}


def test_nothing_is_changed_and_the_calls_are_few(sim: Simulation) -> None:
    ask_diagnose(sim)
    assert dict(sim.cloud.calls) == {"list tagged ports": 1, "get server": 2}
    assert sim.store.writes.count("delete ENI") == 0


ELSEWHERE = "server-9999"
CHANGES: list[tuple[dict[str, Any], Reason, str]] = [
    ({"mac_address": "fa:16:3e:00:00:ff"}, Reason.PORT_CHANGED, "fa:16:3e:00:00:ff"),
    ({"device_id": ELSEWHERE}, Reason.ATTACHED_ELSEWHERE, ELSEWHERE),
    ({"device_id": "", "status": "DOWN"}, Reason.WAITING_FOR_ATTACH, "attached to no server"),
    ({"status": "DOWN"}, Reason.PORT_NOT_ACTIVE, "is DOWN"),
    ({"enabled": False}, Reason.PORT_DISABLED, "is disabled"),
    ({"security_group_ids": frozenset({"other"})}, Reason.UPDATING, "security groups"),
]


@pytest.mark.parametrize(("changes", "reason", "says"), CHANGES)
def test_each_change_of_a_port_has_its_reason_and_the_remedy_of_the_documentation(
    sim: Simulation, changes: dict[str, Any], reason: Reason, says: str
) -> None:
    name, port = change(sim, **changes)
    (only,) = ask_diagnose(sim).differences
    assert (only.kind, only.name, only.reason) == ("ENI", name, reason)
    assert port.id in only.message
    assert says in only.message
    assert only.remedy == REASONS[reason].plain_remedy


def test_an_address_that_was_removed_is_named_with_the_pod_that_has_it(sim: Simulation) -> None:
    _, address = grant(sim)
    port = change(sim)[1]
    name, _ = change(sim, fixed_ips=tuple(f for f in port.fixed_ips if f.address != address))
    answer = ask_diagnose(sim)
    assert found(answer) == [
        ("ENI", name, Reason.PORT_LOST),
        ("PodIP", "default/web", Reason.PORT_LOST),
    ]
    assert all(address in d.message for d in answer.differences)


def test_it_is_named_as_well_once_the_operator_has_seen_it(sim: Simulation) -> None:
    _, address = grant(sim)
    port = change(sim)[1]
    name, _ = change(sim, fixed_ips=tuple(f for f in port.fixed_ips if f.address != address))
    sim.settle()
    answer = ask_diagnose(sim)
    assert ("PodIP", "default/web", Reason.PORT_LOST) in found(answer)
    assert ("ENI", name, Reason.PORT_LOST) in found(answer)
    assert all(address in d.message for d in answer.differences)


def test_an_address_that_somebody_added_is_named(sim: Simulation) -> None:
    port = change(sim)[1]
    more = (*port.fixed_ips, FixedIP(sim.subnet.id, "10.98.3.77"))
    name, _ = change(sim, fixed_ips=more)
    (only,) = ask_diagnose(sim).differences
    assert (only.name, only.reason) == (name, Reason.PORT_CHANGED)
    assert "10.98.3.77" in only.message


def test_a_port_without_its_tags_is_found_by_its_id(sim: Simulation) -> None:
    name, _ = change(sim, tags=frozenset[str]())
    (only,) = ask_diagnose(sim).differences
    uid = sim.eni(name).metadata.uid
    assert (only.name, only.reason) == (name, Reason.UPDATING)
    assert port_tags(CLUSTER_ID, uid)[1] in only.message


def test_a_port_that_is_gone_is_lost(sim: Simulation) -> None:
    name, port = change(sim)
    del sim.cloud.ports[port.id]
    assert found(ask_diagnose(sim)) == [("ENI", name, Reason.PORT_LOST)]


def test_a_server_that_nova_does_not_know_is_named(sim: Simulation) -> None:
    eni = sim.enis()[0]
    sim.cloud.servers.remove(eni.spec.server_id)
    (only,) = ask_diagnose(sim).differences
    assert (only.name, only.reason) == (eni.name, Reason.SERVER_NOT_FOUND)
    assert eni.spec.server_id in only.message


def test_credentials_of_another_project_are_one_difference_and_not_lost_ports(
    sim: Simulation,
) -> None:
    sim.cloud.place = replace(sim.cloud.place, project_id="another")
    sim.cloud.elsewhere = True
    reasons = {reason for _, _, reason in found(ask_diagnose(sim))}
    assert reasons == {Reason.CREDENTIALS_INVALID}


def test_a_port_without_an_eni_is_named_and_a_young_one_is_not(sim: Simulation) -> None:
    leaked = leak_port(sim)
    leak_port(sim, "young", created_at=sim.now())
    assert found(ask_diagnose(sim)) == [("Port", leaked.id, Reason.ORPHANED_PORTS)]


def test_a_second_port_of_an_eni_is_named(sim: Simulation) -> None:
    eni = sim.enis()[0]
    second = leak_port(sim, eni.metadata.uid)
    (only,) = ask_diagnose(sim).differences
    assert (only.kind, only.name, only.reason) == ("Port", second.id, Reason.PORT_CHANGED)
    assert eni.name in only.message


def test_two_pods_with_one_address_are_named(sim: Simulation) -> None:
    grant(sim, "a")
    grant(sim, "b")
    (only,) = ask_diagnose(sim).differences
    assert (only.name, only.reason) == ("default/b", Reason.ADDRESS_IN_USE)
    assert "default/a" in only.message


def test_a_podip_of_an_eni_that_is_not_there_is_named(sim: Simulation) -> None:
    sim.api.create(PODIPS, podip_body("web"))
    (only,) = ask_diagnose(sim).differences
    assert (only.kind, only.reason) == ("PodIP", Reason.ADDRESS_NOT_ON_PORT)
    assert "pods-2f1f9a3e-0" in only.message


def test_what_is_in_progress_is_no_difference() -> None:
    sim = Simulation()
    sim.cloud.attach_seconds = 3600
    sim.add_pool()
    sim.settle(60)
    assert sim.ready() == []
    assert found(ask_diagnose(sim)) == []


def test_an_eni_that_is_being_deleted_is_no_difference(sim: Simulation) -> None:
    name, _ = change(sim, device_id="", status="DOWN")
    sim.api.delete(ENIS, name)
    assert found(ask_diagnose(sim)) == []


def test_a_cloud_that_does_not_answer_is_said_so(sim: Simulation) -> None:
    sim.cloud.down = CloudUnreachableError("no route to host")
    answer = ask_diagnose(sim)
    assert found(answer) == []
    assert answer.unread == ("cloud 'default': no route to host",)


def test_an_object_that_does_not_match_its_schema_is_said_so(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = podip_body("broken")
    body["spec"]["nodeName"] = 7
    pages = sim.api.pages

    def broken(kind: Kind) -> Iterator[tuple[Json, ...]]:
        return iter([(body,)]) if kind == PODIPS else pages(kind)

    monkeypatch.setattr(sim.api, "pages", broken)
    (said,) = ask_diagnose(sim).unread
    assert said.startswith("PodIP default/broken does not match its schema")


def test_only_what_two_looks_show_is_confirmed() -> None:
    stays, passes = (difference("ENI", n, Reason.PORT_LOST, "gone") for n in ("a", "b"))
    looks = iter([Diagnosis((stays, passes)), Diagnosis((stays,), {"ENIs": 2})])
    waits: list[str] = []
    answer = confirmed(lambda: next(looks), lambda: waits.append("waited"))
    assert (answer.differences, answer.compared, waits) == ((stays,), {"ENIs": 2}, ["waited"])


def test_where_the_first_look_finds_nothing_nobody_waits() -> None:
    assert confirmed(Diagnosis, lambda: pytest.fail("it waits")) == Diagnosis()


def test_nodes_and_pods_are_not_needed(sim: Simulation) -> None:
    """An operator of its own reads what its role permits, and no more."""
    for kind in (NODES, PODS):
        for body in sim.api.list(kind).items:
            meta = body["metadata"]
            sim.api.delete(kind, meta["name"], meta.get("namespace", ""))
    assert found(ask_diagnose(sim)) == []
