"""A reboot takes the journal and the kernel's state: addresses of before are their pods' still."""

from functools import partial
from pathlib import Path
from threading import Thread

import pytest

from openeni_crds import names
from openeni_crds.names import Kind
from openeni_kube.store import Page
from openeni_nodeagent.cni.protocol import Code
from openeni_nodeagent.reports.publishing_pace import PublishingPace
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost, waiting_adds
from openeni_testing.waiting import wait_for

WISHES: list[dict[str, str]] = [{}, {"address": "10.98.0.5"}, {"sticky": "1h"}]


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    return AgentHost(tmp_path, executable)


def start_and_reboot(host: AgentHost, *pods: str, **annotations: str) -> dict[str, str]:
    """Start pods, and lose all that the node knows of them; return their addresses."""
    wish = {f"openeni.io/{name}": value for name, value in annotations.items()}
    uids = {name: node_objects.make_pod(host.store, name, wish) for name in pods}
    with host.agent(boot="first"):
        found = {name: host.add(name, f"first-{name}", uids[name]) for name in pods}
        for name in pods:
            host.ready_podip(name)
    for address in found.values():
        host.datapath.lose(address)
    return found


def uid_of(host: AgentHost, name: str) -> str:
    return str(host.store.get(names.PODS, name, "default")["metadata"]["uid"])


def is_of(host: AgentHost, name: str, container: str) -> bool:
    return host.ready_podip(name).spec.container_id == container


def refusal(host: AgentHost, name: str) -> int:
    uid = node_objects.make_pod(host.store, name)
    return host.runtime(name, deadline=6).call("ADD", name, uid, name).error


def fail_an_add(host: AgentHost, uid: str) -> None:
    host.datapath.build_fails = "no buffer space"
    assert host.runtime("second", deadline=6).call("ADD", "second", uid, "a").code != 0
    host.datapath.build_fails = ""


def test_each_pod_gets_its_own_address_back_at_once(host: AgentHost) -> None:
    host.create_objects(count=3, cool_down="1h")
    had = start_and_reboot(host, "a", "b", "c")
    with host.agent(boot="second"):
        for name in reversed(had):
            assert host.add(name, f"second-{name}", uid_of(host, name)) == had[name]
            wait_for(partial(is_of, host, name, f"second-{name}"), "its PodIP follows")


def test_no_other_pod_gets_it_and_it_does_not_leave_the_node(host: AgentHost) -> None:
    host.create_objects(count=2, cool_down="1h")
    had = start_and_reboot(host, "a")
    ask = [{"op": "add", "path": "/spec/retiring", "value": list(had.values())}]
    host.store.patch(names.ENIS, "pods-0", operations=ask)
    with host.agent(boot="second"):
        assert host.add("other", "other") not in had.values()
        assert refusal(host, "third") == Code.TRY_AGAIN
        wait_for(lambda: host.node_status().refused, "it is not given back")


def test_it_waits_for_a_pod_that_is_listed_late(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The PodIPs are there before the pods, which then seem to be gone."""
    host.create_objects(count=3, cool_down="1h")
    had = start_and_reboot(host, "a", "b", "c")
    questions = count_questions(monkeypatch)
    listing = host.store.list

    def late(kind: Kind, **selectors: str) -> Page:
        if kind == names.PODS:
            wait_for(lambda: len(questions) > 2 or host.podip("a") is None, "PodIPs are due")
        return listing(kind, **selectors)

    monkeypatch.setattr(host.store, "list", late)
    with host.agent(boot="second"):
        for name in had:
            assert host.add(name, f"second-{name}", uid_of(host, name)) == had[name]


def count_questions(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the times at which a queue has asked whether it may write."""
    asked: list[float] = []
    pause = PublishingPace.pause

    def counted(self: PublishingPace, lane: str, overdue: float) -> float:
        asked.append(overdue)
        return pause(self, lane, overdue)

    monkeypatch.setattr(PublishingPace, "pause", counted)
    return asked


@pytest.mark.parametrize("retiring", [False, True])
def test_an_add_that_fails_ends_no_cool_down(host: AgentHost, retiring: bool) -> None:
    """Its pod has its own address at the next try, and nobody else before."""
    host.create_objects(count=1, cool_down="1h")
    had = start_and_reboot(host, "a")
    uid = uid_of(host, "a")
    with host.agent(boot="second"):
        fail_an_add(host, uid)
        if retiring:
            ask = [{"op": "add", "path": "/spec/retiring", "value": list(had.values())}]
            host.store.patch(names.ENIS, "pods-0", operations=ask)
        assert refusal(host, "other") == Code.TRY_AGAIN
        assert not host.node_status().retired
        assert host.add("a", "third", uid) == had["a"]
        host.delete("third")
        host.store.delete(names.PODS, "a", "default")
        wait_for(lambda: host.podip("a") is None, "its PodIP goes with it")
        wait_for(lambda: host.node_status().cooling == 1, "it cools down")


@pytest.mark.parametrize("wish", WISHES)
def test_after_an_add_that_failed_nobody_but_its_pod_gets_it(
    host: AgentHost, wish: dict[str, str]
) -> None:
    host.create_objects(count=1, cool_down="1h")
    had = start_and_reboot(host, "a", **wish)
    uid = uid_of(host, "a")
    with host.agent(boot="second"):
        fail_an_add(host, uid)
        assert refusal(host, "other") == Code.TRY_AGAIN
        assert host.podip("a") is not None
        assert host.add("a", "third", uid) == had["a"]


@pytest.mark.parametrize("wish", WISHES)
def test_it_does_not_leave_the_node_with_its_whole_eni(
    host: AgentHost, wish: dict[str, str]
) -> None:
    """Of which no other address has to wait for a cool-down."""
    host.create_objects(count=2, cool_down="1h")
    had = start_and_reboot(host, "a", **wish)
    ask = [{"op": "add", "path": "/spec/retiring", "value": list(node_objects.addresses(2))}]
    host.store.patch(names.ENIS, "pods-0", operations=ask)
    with host.agent(boot="second"):
        wait_for(lambda: host.node_status().retired, "the other one goes")
        status = host.node_status()
        assert {answer.address for answer in status.refused} == set(had.values())
        assert len(status.retired) == 1


def test_its_pod_waits_behind_no_other(host: AgentHost) -> None:
    """The node is full, and the first to ask was bound to it meanwhile."""
    host.create_objects(count=2, cool_down="1h")
    had = start_and_reboot(host, "a", "b")
    with host.agent(boot="second") as agent:
        uid = node_objects.make_pod(host.store, "new")
        runtime = host.runtime("new", deadline=60)
        waits = Thread(target=runtime.call, args=("ADD", "new", uid, "new"), daemon=True)
        waits.start()
        wait_for(lambda: waiting_adds(agent) == 1, "it waits")
        for name in had:
            assert host.add(name, f"second-{name}", uid_of(host, name)) == had[name]
        assert waiting_adds(agent) == 1


def test_it_cools_down_once_its_pod_is_gone(host: AgentHost) -> None:
    host.create_objects(count=1, cool_down="1h")
    start_and_reboot(host, "a")
    with host.agent(boot="second"):
        host.store.delete(names.PODS, "a", "default")
        wait_for(lambda: host.podip("a") is None, "its PodIP goes with it", 30)
        wait_for(lambda: host.node_status().cooling == 1, "it cools down")
        assert refusal(host, "other") == Code.TRY_AGAIN


def test_it_cools_down_once_its_pod_has_ended(host: AgentHost) -> None:
    """Such a pod is not started again, and its object may stay for long."""
    host.create_objects(count=1, cool_down="1h")
    start_and_reboot(host, "a")
    with host.agent(boot="second"):
        ended = [{"op": "add", "path": "/status", "value": {"phase": "Failed"}}]
        host.store.patch(names.PODS, "a", "default", operations=ended, subresource="status")
        wait_for(lambda: host.podip("a") is None, "its PodIP goes", 30)
        wait_for(lambda: host.node_status().cooling == 1, "it cools down")


def test_a_pod_whose_address_has_left_the_port_gets_another_one(host: AgentHost) -> None:
    host.create_objects(count=3, cool_down="1h")
    start_and_reboot(host, "a")
    left = [f"10.98.0.{number}" for number in (104, 105, 106)]
    given = [{"op": "replace", "path": "/status/port/addresses", "value": left}]
    host.store.patch(names.ENIS, "pods-0", operations=given, subresource="status")
    with host.agent(boot="second"):
        assert host.add("a", "second", uid_of(host, "a")) in left


def test_a_pod_whose_eni_does_not_come_back_gets_an_address_of_another(host: AgentHost) -> None:
    host.create_objects(count=3, cool_down="1h")
    node_objects.make_eni(host.store, "apps-0")  # the first by its name
    node_objects.write_operator_status(host.store, "apps-0", number=5)
    host.datapath.nics.add(node_objects.mac(5))
    with host.agent(boot="first"):
        wait_for(lambda: host.node_status("apps-0").available == 3, "it is ready")
        had = host.add("a", "first")
        host.ready_podip("a")
    host.datapath.lose(had)
    host.datapath.nics.remove(node_objects.mac(5))
    with host.agent(boot="second"):
        wait_for(lambda: host.node_status().available == 3, "the other one is ready")
        assert host.add("a", "second", uid_of(host, "a")) != had
