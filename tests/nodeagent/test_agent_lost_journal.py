"""A journal that was lost: no address of a living pod is taken, none of a dead one is kept."""

from functools import partial
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_nodeagent.grants import journal
from openeni_nodeagent.grants.journal import CoolDowns, Journal, read
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost, granted, is_synced
from openeni_testing.objects import podip_body, remove
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    host = AgentHost(tmp_path, executable)
    host.create_objects()
    return host


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, and confirm soon."""
    monkeypatch.setattr("openeni_nodeagent.looks.datapath_reconciler.LOOK_PERIOD_SECONDS", 0.2)
    monkeypatch.setattr("openeni_nodeagent.attachments.repair.CONFIRM_SECONDS", 0.5)


def stale_podip(host: AgentHost, address: str, *, device: str = "oec1", pod_uid: str = "") -> None:
    """A PodIP that an agent published, and that nobody could delete since."""
    body = podip_body("a-old")
    body["spec"] |= {"address": address, "containerID": "c1"}
    if pod_uid:
        body["spec"]["podUID"] = pod_uid
    host.store.create(names.PODIPS, body)
    status = {"metadata": body["metadata"], "status": {"hostInterface": device}}
    host.store.apply(names.PODIPS, status, manager="agent", subresource="status")


def test_a_lost_journal_is_restored_from_podips_and_kernel(host: AgentHost) -> None:
    with host.agent():
        address = host.add("web", "c1")
        host.ready_podip("web")
    host.settings.journal.unlink()
    with host.agent():
        others = {host.add("a", "c2"), host.add("b", "c3")}
        assert address not in others
        wait_for(lambda: host.node_status().granted == 3, "the pod is known again")
        assert host.ready("web")
        host.delete("c1")
        assert "c1" not in host.datapath.owners().values()


def with_a_lost_journal(host: AgentHost) -> str:
    """Leave the pod c1 without a journal and without the API server; return its address."""
    with host.agent():
        address = host.add("web", "c1")
        host.ready_podip("web")
    host.settings.journal.unlink()
    host.store.set_outage(outage=True)
    return address


def test_a_del_between_a_lost_journal_and_its_repair_must_be_retried(host: AgentHost) -> None:
    address = with_a_lost_journal(host)
    with host.agent():
        answer = host.runtime("c1").call("DEL", "c1")
        assert (answer.error, address in answer.body["details"]) == (11, True)
        host.store.set_outage(outage=False)
        wait_for(lambda: host.runtime("c1").call("DEL", "c1").code == 0, "DEL is done")
        assert host.datapath.owners() == {}


def test_check_between_a_lost_journal_and_its_repair_does_not_say_that_no_del_is_needed(
    host: AgentHost,
) -> None:
    address = with_a_lost_journal(host)
    with host.agent():
        answer = host.runtime("c1").call("CHECK", "c1", "uid", "web", prevResult={})
        assert (answer.error, address in answer.body["details"]) == (11, True)
        host.store.set_outage(outage=False)
        other = partial(host.runtime("zz").call, "CHECK", "zz", "uid", "web", prevResult={})
        wait_for(lambda: other().error == 3, "it is known that zz has no address")


def test_an_address_in_the_kernel_without_an_owner_is_reserved_until_it_is_gone(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openeni_nodeagent.looks.datapath_reconciler.LOOK_PERIOD_SECONDS", 0.5)
    with host.agent():
        address = host.add("web", "c1")
        host.ready_podip("web")
    host.settings.journal.unlink()
    host.store.delete(names.PODS, "web", "default")
    host.store.delete(names.PODIPS, "web", "default")
    host.store.patch(
        names.PODIPS,
        "web",
        "default",
        operations=[{"op": "replace", "path": "/metadata/finalizers", "value": []}],
    )
    with host.agent():
        assert {host.add("a", "c2"), host.add("b", "c3")} == set(node_objects.addresses(3)) - {
            address
        }
        host.datapath.lose(address)
        assert host.add("c", "c4") == address


@pytest.mark.usefixtures("soon")
def test_a_queued_del_survives_the_loss_and_ends_the_grant_that_is_adopted(
    host: AgentHost,
) -> None:
    """The pod is terminating: its DEL was sent, but its object is still there."""
    with host.agent():
        host.add("web", "c1")
        host.ready_podip("web")
    host.delete("c1")
    host.settings.journal.unlink()
    with host.agent():
        wait_for(lambda: host.datapath.owners() == {}, "the queued DEL is done")
        wait_for(lambda: list(host.settings.queue.iterdir()) == [], "the queue is empty")
        wait_for(lambda: host.podip("web") is None, "its PodIP is gone")


@pytest.mark.usefixtures("soon")
def test_the_address_of_a_pod_that_has_gone_is_removed_and_not_adopted(
    host: AgentHost, caplog: pytest.LogCaptureFixture
) -> None:
    with host.agent():
        address = host.add("web", "c1")
        host.ready_podip("web")
    host.delete("c1")
    host.store.delete(names.PODS, "web", "default")
    host.settings.journal.unlink()
    with host.agent():
        wait_for(lambda: host.datapath.owners() == {}, "the kernel has nothing of it")
        wait_for(lambda: host.podip("web") is None, "its PodIP is gone")
        wait_for(lambda: host.node_status().cooling == 1, "its address cools down")
        assert "adopting" not in caplog.text
        assert host.node_status().granted == 0
        assert {host.add("a", "c2"), host.add("b", "c3")} == set(node_objects.addresses(3)) - {
            address
        }


def test_a_queued_del_is_kept_while_it_may_be_that_of_a_lost_grant(host: AgentHost) -> None:
    with host.agent():
        address = host.add("web", "c1")
    host.delete("c1")
    host.settings.journal.unlink()
    host.store.set_outage(outage=True)
    with host.agent():
        assert len(list(host.settings.queue.iterdir())) == 1
        assert host.datapath.owners() == {address: "c1"}


def test_a_living_pod_keeps_its_address_although_an_older_podip_names_it(host: AgentHost) -> None:
    with host.agent():
        address = host.add("new", "c2")
        host.ready_podip("new")
    stale_podip(host, address)
    host.settings.journal.unlink()
    with host.agent():
        wait_for(lambda: host.node_status().granted == 1, "the living pod is known again")
        wait_for(lambda: host.podip("a-old") is None, "the older PodIP is gone")
        assert host.ready("new")
        host.delete("c2")
        assert host.datapath.owners() == {}


def test_an_address_is_not_adopted_for_a_pod_on_whose_device_it_is_not(host: AgentHost) -> None:
    """The pod of the older PodIP exists; the one that has the address has no PodIP yet."""
    with host.agent():
        address = host.add("new", "c2")
        host.ready_podip("new")
    remove(host.store, names.PODIPS, "new", "default")
    stale_podip(host, address, pod_uid=node_objects.make_pod(host.store, "a-old"))
    host.settings.journal.unlink()
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent serves")
        wait_for(lambda: host.runtime("x").ask("ready").returncode == 0, "it has been repaired")
        assert granted(agent) == set()
        assert host.datapath.owners() == {address: "c2"}
        others = {host.add("a", "c3"), host.add("b", "c4")}
        assert address not in others


def test_two_claims_to_an_address_make_no_del_wait_for_ever(host: AgentHost) -> None:
    with host.agent():
        address = host.add("new", "c2")
        host.ready_podip("new")
    stale_podip(host, address, device="oec2", pod_uid=node_objects.make_pod(host.store, "a-old"))
    host.settings.journal.unlink()
    with host.agent() as agent:
        wait_for(lambda: host.runtime("zz").call("DEL", "zz").code == 0, "DEL is done")
        assert granted(agent) == set()
        assert host.datapath.owners() == {address: "c2"}


def test_a_journal_that_is_closed_is_the_next_processs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_COMPACT_ABOVE", 0)
    path = tmp_path / "journal"
    old = Journal(path, "boot")
    old.append(CoolDowns({"10.98.0.5": 1.0}))
    old.close()
    new = Journal(path, "boot")
    old.compact({})
    new.append(CoolDowns({"10.98.0.6": 1.0}))
    assert "10.98.0.6" in read(path).cooling_until
