"""Events of a whole agent: about pods that get no address, beside ADDs and never in their way."""

import threading
from pathlib import Path

import pytest

from openeni_crds.names import EVENTS, NODES
from openeni_nodeagent.attachments import pod_events
from openeni_nodeagent.cni import server
from openeni_nodeagent.looks import datapath_reconciler
from openeni_nodeagent.reports import repair_events
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import finish
from openeni_testing.agent.host import AgentHost
from openeni_testing.waiting import wait_for


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    return AgentHost(tmp_path, executable)


def test_a_pod_that_waits_for_long_has_an_event_before_its_add_ends(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_events, "WAIT_SECONDS", 0.05)
    monkeypatch.setattr(pod_events, "LOOK_SECONDS", 0.05)
    node_objects.make_node(host.store)
    node_objects.make_pool(host.store)
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        add = host.runtime("c1").start("ADD", "c1", uid, "web")
        (event,) = wait_for(lambda: host.store.list(EVENTS).items, "an event")
        assert event["reason"] == "NoENIReady"
        assert event["note"] == (
            "no address for pod default/web: ENIPool pods has no ENI on this node yet"
        )
        assert event["regarding"] == {
            "apiVersion": "v1",
            "kind": "Pod",
            "namespace": "default",
            "name": "web",
            "uid": uid,
        }
        assert event["reportingController"] == "openeni.io/agent"
        assert event["reportingInstance"] == node_objects.NODE
        assert event["type"] == "Warning"
        assert add.poll() is None
        node_objects.make_eni(host.store)
        node_objects.write_operator_status(host.store)
        assert finish(add).code == 0
        assert len(host.store.list(EVENTS).items) == 1
        assert "series" not in host.store.list(EVENTS).items[0]


def test_all_tries_of_a_pod_that_fail_for_one_cause_are_one_event(host: AgentHost) -> None:
    host.create_objects()
    with host.agent():
        uid = node_objects.make_pod(host.store, "web")
        host.datapath.build_fails = "no buffer space"
        for n in range(3):  # each sandbox gets another address
            host.runtime(f"c{n}").call("ADD", f"c{n}", uid, "web")

        def is_series() -> bool:
            events = host.store.list(EVENTS).items
            assert [(e["reason"], "series" in e) for e in events] == [("DatapathFailed", True)]
            return True

        wait_for(is_series, "a series")
        assert "no buffer space" in host.store.list(EVENTS).items[0]["note"]
        host.datapath.build_fails = ""


def test_an_api_server_that_hangs_delays_no_add_and_costs_no_more_than_the_event(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "THREADS", 2)
    host.create_objects()
    hanging, go_on = threading.Event(), threading.Event()
    create = host.store.create

    def hang(kind: object, body: object) -> object:
        if kind == EVENTS:
            hanging.set()
            assert go_on.wait(60)
        return create(kind, body)  # type: ignore[arg-type]

    monkeypatch.setattr(host.store, "create", hang)
    with host.agent():
        host.datapath.refused = "no buffer space"
        uid = node_objects.make_pod(host.store, "web")
        assert host.runtime("c1").call("ADD", "c1", uid, "web").error == 5
        assert hanging.wait(60)
        for container in ("c3", "c4"):  # no thread of the server is held
            assert host.runtime(container).call("ADD", container, uid, "web").error == 5
        host.datapath.refused = ""
        host.add("db", "c2")
        go_on.set()


def test_repairs_of_one_kind_in_look_after_look_are_an_event_on_the_node(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel in memory finds a route of the pod that has gone at each look."""
    monkeypatch.setattr(repair_events, "APART_SECONDS", 0.0)
    monkeypatch.setattr(datapath_reconciler, "SOON_SECONDS", 0.05)
    host.create_objects()
    with host.agent():
        host.add("web", "c1")
        host.datapath.clears_nothing = True
        host.delete("c1")
        host.datapath.changed()  # a look, before the one at the end of the cool-down
        (event,) = wait_for(lambda: host.store.list(EVENTS).items, "an event")
        host.datapath.clears_nothing = False
    node = host.store.get(NODES, node_objects.NODE)["metadata"]
    assert event["reason"] == "RepairsRepeated"
    assert event["metadata"]["namespace"] == "default"
    assert event["regarding"] == {
        "apiVersion": "v1",
        "kind": "Node",
        "name": node_objects.NODE,
        "uid": node["uid"],
    }
    assert event["action"] == "RestoreRoute"
    assert "ManageForeignRoutes=no" in event["note"]
