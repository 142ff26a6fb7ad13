"""The agent's metrics, of a whole agent with cluster and kernel in memory, as they are scraped."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.names import BUNDLE_VERSION, EVENTS
from openeni_kube.clock import boot_seconds
from openeni_kube.exposition import Exposition
from openeni_kube.metrics import MetricType
from openeni_kube.store import InvalidError
from openeni_nodeagent.agent import Agent
from openeni_nodeagent.attachments import del_queue
from openeni_nodeagent.cni import frame
from openeni_nodeagent.datapath import model
from openeni_nodeagent.datapath_api import REPAIR_KINDS, PodInterface
from openeni_nodeagent.looks import datapath_reconciler
from openeni_nodeagent.metrics.catalogue import CATALOGUE
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import CONFIG, finish
from openeni_testing.agent.host import AgentHost, waiting_adds
from openeni_testing.exposed import metric_name, samples, values
from openeni_testing.waiting import wait_for

ADD_PHASES: Final = {"queue", "socket", "grant", "host", "pod", "record", "reply", "other", "total"}
DEL_PHASES: Final = {"queue", "socket", "datapath", "reply", "other", "total"}


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    return AgentHost(tmp_path, executable)


def page(agent: Agent) -> bytes:
    exposition = Exposition(BUNDLE_VERSION)
    exposition.add_source(agent.samples)
    return exposition.page()


def wait_for_value(
    agent: Agent, name: str, labels: tuple[str, ...], wanted: Callable[[float], bool] | float
) -> None:
    def as_wanted() -> bool:
        found = values(page(agent), name)
        assert labels in found, found
        value = found[labels]
        assert wanted(value) if callable(wanted) else value == wanted, found
        return True

    wait_for(as_wanted, name)


def test_each_metric_of_the_catalogue_is_set_by_an_agent_at_work_and_no_other(
    host: AgentHost,
) -> None:
    """An ADD, a DEL and a CHECK that fails: nothing else is needed to see each of them."""
    host.create_objects()
    with host.agent() as agent:
        host.add("web", "c1")
        host.runtime("none").call("CHECK", "none", "uid", prevResult={})
        host.delete("c1")
        wait_for_value(agent, "openeni_cni_errors_total", ("CHECK", "3"), 1)
        found = page(agent)
    labels = {metric.name: set(metric.labels) for metric in CATALOGUE}
    assert {metric_name(sample.name) for sample in samples(found)} == labels.keys()
    for sample in samples(found):
        assert set(sample.labels) - {"le"} == labels[metric_name(sample.name)], sample.name


def test_adds_and_dels_are_timed_by_phase_and_other_calls_as_a_whole(host: AgentHost) -> None:
    host.create_objects()
    with host.agent() as agent:
        uid = node_objects.make_pod(host.store, "web")
        runtime = host.runtime("c1")
        added = runtime.call("ADD", "c1", uid, "web")
        assert runtime.call("CHECK", "c1", uid, prevResult=added.body).code == 0
        host.delete("c1")
        assert runtime.gc().code == 0
        wait_for_value(agent, "openeni_cni_duration_seconds_count", ("GC", "total"), 1)
        counts = values(page(agent), "openeni_cni_duration_seconds_count")
        buckets = values(page(agent), "openeni_cni_duration_seconds_bucket")
        sums = values(page(agent), "openeni_cni_duration_seconds_sum")
    assert {phase for command, phase in counts if command == "ADD"} == ADD_PHASES
    assert {phase for command, phase in counts if command == "DEL"} == DEL_PHASES
    assert {key for key in counts if key[0] in {"CHECK", "GC"}} == {
        ("CHECK", "total"),
        ("GC", "total"),
    }
    assert set(counts.values()) == {1}
    assert buckets["ADD", "total", "+Inf"] == 1
    assert 0 < sums["ADD", "total"] < 60


def test_a_call_that_fails_is_counted_by_its_code_and_not_timed(host: AgentHost) -> None:
    host.create_objects()
    with host.agent() as agent:
        host.datapath.refused = "no buffer space"
        uid = node_objects.make_pod(host.store, "web")
        for _ in range(2):
            assert host.runtime("c1").call("ADD", "c1", uid, "web").error == 5
        host.datapath.refused = ""
        wait_for_value(agent, "openeni_cni_errors_total", ("ADD", "5"), 2)
        assert values(page(agent), "openeni_cni_duration_seconds_count") == {}


def test_adds_that_wait_are_counted_by_pool_and_the_longest_wait_is_told(host: AgentHost) -> None:
    host.create_objects(count=1)
    with host.agent() as agent:
        host.add("web", "c1")
        uid = node_objects.make_pod(host.store, "next")
        add = host.runtime("c2").start("ADD", "c2", uid, "next")
        wait_for(lambda: waiting_adds(agent) == 1, "it waits")
        assert values(page(agent), "openeni_cni_adds_waiting") == {("pods",): 1}
        wait_for_value(agent, "openeni_cni_adds_waiting_seconds", (), lambda v: v > 0)
        node_objects.write_operator_status(host.store, count=2)
        assert finish(add).code == 0
        assert values(page(agent), "openeni_cni_adds_waiting") == {("pods",): 0}
        assert values(page(agent), "openeni_cni_adds_waiting_seconds") == {(): 0}


def test_grants_and_addresses_are_counted_by_state(host: AgentHost) -> None:
    host.create_objects(count=4)
    connecting, go_on = threading.Event(), threading.Event()

    def slowly(pod: PodInterface) -> None:
        if pod.container_id == "slow":
            connecting.set()
            assert go_on.wait(60)

    host.datapath.before_add = slowly
    with host.agent() as agent:
        host.add("web", "c1")
        host.add("db", "c2")
        host.delete("c2")
        uid = node_objects.make_pod(host.store, "slow")
        add = host.runtime("slow").start("ADD", "slow", uid, "slow")
        assert connecting.wait(60)
        found = page(agent)
        assert values(found, "openeni_grants") == {
            ("connected",): 1,
            ("connecting",): 1,
            ("differing",): 0,
        }
        assert values(found, "openeni_node_addresses") == {
            ("pods", "granted"): 2,
            ("pods", "available"): 1,
            ("pods", "cooling"): 1,
            ("pods", "unavailable"): 0,
        }
        go_on.set()
        assert finish(add).code == 0
        node_objects.write_operator_status(host.store, count=4, attached=False)
        wait_for_value(agent, "openeni_node_addresses", ("pods", "unavailable"), 1)
        assert values(page(agent), "openeni_node_addresses")["pods", "available"] == 0


def test_a_pod_that_cannot_be_restored_is_a_grant_that_differs(host: AgentHost) -> None:
    host.create_objects()
    with host.agent() as agent:
        address = host.add("web", "c1")
        host.datapath.refused = "no buffer space"
        host.datapath.lose(address)
        host.datapath.changed()
        wait_for_value(agent, "openeni_grants", ("differing",), 1)
        host.datapath.refused = ""


@pytest.mark.slow
def test_repairs_are_counted_by_kind_and_every_kind_is_there_from_the_beginning(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datapath_reconciler, "SOON_SECONDS", 0.05)
    host.create_objects()
    with host.agent() as agent:
        host.add("web", "c1")
        host.datapath.clears_nothing = True
        host.delete("c1")
        host.datapath.clears_nothing = False
        host.datapath.changed()  # a look, before the one at the end of the cool-down
        wait_for_value(agent, "openeni_repairs_total", ("route",), lambda v: v >= 1)
        found = values(page(agent), "openeni_repairs_total")
    assert {kind for (kind,) in found} == set(REPAIR_KINDS)
    assert sum(found.values()) == found["route",]


def test_the_kinds_of_repairs_are_the_items_of_the_datapath() -> None:
    repaired = {item.__name__.lower() for item in model.Item.__args__} - {"flowtablelink"}
    assert set(REPAIR_KINDS) == repaired


def test_watches_and_looks_have_an_age(host: AgentHost) -> None:
    host.create_objects()
    with host.agent() as agent:
        host.add("web", "c1")
        found = page(agent)
        ages = values(found, "openeni_watch_age_seconds")
        assert {resource for (resource,) in ages} == {
            *("nodes", "pods", "enis", "podips", "enipools")
        }
        assert all(0 <= age < 60 for age in ages.values())
        wait_for_value(agent, "openeni_look_duration_seconds", (), lambda v: v > 0)
        (age,) = values(page(agent), "openeni_look_age_seconds").values()
        assert 0 <= age < 60
        host.datapath.refused = "no buffer space"  # a look that fails does not make it young
        host.datapath.lose(next(iter(host.datapath.owners())))
        host.datapath.changed()
        wait_for_value(agent, "openeni_look_age_seconds", (), lambda v: v > age)
        host.datapath.refused = ""


def test_queues_and_the_journal_have_a_depth(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(del_queue, "REPLAY_PERIOD_SECONDS", 0.02)
    host.create_objects()
    with host.agent() as agent:
        before = values(page(agent), "openeni_journal_records")[()]
        size = values(page(agent), "openeni_journal_size_bytes")[()]
        host.add("web", "c1")
        found = page(agent)
        assert values(found, "openeni_journal_records")[()] > before
        assert values(found, "openeni_journal_size_bytes")[()] > size
        depths = values(found, "openeni_agent_queue_depth")
        assert {"look", "podips", "periodic"} <= {queue for (queue,) in depths}
        assert values(found, "openeni_agent_queue_oldest_due_seconds").keys() == depths.keys()
        host.datapath.refused = "no buffer space"
        variables = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
        content = frame.encode_request(variables, json.dumps(CONFIG).encode(), deadline=9)
        queued = int(boot_seconds() * 1000) + 1
        (host.settings.queue / f".{queued}-2.del").write_bytes(b"unfinished")
        written = host.settings.queue / f".{queued}-1.del"
        written.write_bytes(content)
        written.rename(host.settings.queue / f"{queued}-1.del")  # else half of it might be read
        assert values(page(agent), "openeni_del_queue_depth") == {(): 1}
        host.datapath.refused = ""
        wait_for_value(agent, "openeni_del_queue_depth", (), 0)
        wait_for_value(agent, "openeni_grant_log_pending_lines", (), 0)
        assert host.datapath.owners() == {}


def test_an_event_that_the_api_server_refuses_is_counted(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.create_objects()
    create = host.store.create

    def refuse(kind: object, body: object) -> object:
        if kind == EVENTS:
            raise InvalidError(403, "forbidden")
        return create(kind, body)  # type: ignore[arg-type]

    monkeypatch.setattr(host.store, "create", refuse)
    with host.agent() as agent:
        host.datapath.refused = "no buffer space"
        uid = node_objects.make_pod(host.store, "web")
        assert host.runtime("c1").call("ADD", "c1", uid, "web").error == 5
        wait_for_value(agent, "openeni_events_dropped_total", ("NotWritten",), 1)
        host.datapath.refused = ""


def test_no_label_names_a_pod_and_names_end_as_their_type_asks() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for metric in CATALOGUE:
        assert metric.name.startswith("openeni_")
        assert metric.name.endswith("_total") == (metric.type is MetricType.COUNTER)
        assert bool(metric.buckets) == (metric.type is MetricType.HISTOGRAM)
        assert sorted(metric.buckets) == list(metric.buckets)
        assert not {"pod", "namespace", "container", "address"} & set(metric.labels)


def test_no_look_is_overdue_while_the_agent_has_not_read_its_node(host: AgentHost) -> None:
    """On a node that never reached the API server nothing is wrong with the kernel."""
    host.create_objects()
    host.store.set_outage(outage=True)
    with host.agent() as agent:
        assert values(page(agent), "openeni_look_age_seconds") == {(): 0}
        host.store.set_outage(outage=False)
        wait_for_value(agent, "openeni_look_age_seconds", (), lambda age: age > 0)
