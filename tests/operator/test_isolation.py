"""One cloud's trouble is that cloud's alone: the product's own wiring, its threads, two clouds.

Budgets, pauses and ages go by a clock that only the test moves; what has to be done in time is said
in calls.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.conditions import Reason, Type, condition
from openeni_crds.meta import Json, encode
from openeni_crds.names import (
    ENIPOOLS,
    ENIS,
    FINALIZER_ENI,
    FINALIZER_PODIP,
    LABEL_VETH,
    MANAGER_AGENT,
    NODES,
    PODIPS,
    TAINT_AGENT_NOT_READY,
    Kind,
)
from openeni_kube.result import RequeueAfter, Result
from openeni_operator.cloud.admission import CallLimits
from openeni_operator.cloud.clouds import MAX_PAUSE
from openeni_operator.cloud.errors import RETRY_SLOWLY
from openeni_operator.controllers import Controllers
from openeni_operator.keys import Key
from openeni_operator.missing_nodes import NODE_GRACE_PERIOD
from openeni_operator.settings import Settings
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.controller.running import running_operator
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorBefore, Slow
from openeni_testing.fake_openstack.messages import Response
from openeni_testing.objects import eni_body, podip_body, pool_body, status_of
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow

UNREACHABLE_ENIS: Final = 60
READY_TO_ATTACH: Final = 300
NEVER: Final = 3600.0  # seconds of the real clock, for which nobody waits
UNLIMITED: Final = 1e6  # calls per second
FAST: Final = CallLimits(reads=UNLIMITED, writes=UNLIMITED, attaches=UNLIMITED)
ONE_PER_SECOND: Final = CallLimits(reads=UNLIMITED, writes=UNLIMITED, attaches=1)
READS_BOUND: Final = CallLimits(reads=20, writes=UNLIMITED, attaches=UNLIMITED)
READING_ENIS: Final = 200
PAUSE_SEEN: Final = 1.0  # seconds of the real clock in which threads that may would take them all
BURST: Final = ONE_PER_SECOND.attaches_in_flight
BRIEFLY: Final = 10  # of those that wait have their turn too soon for a status to say so
GONE: Final = "gone"  # a node
PREPARED: Final = condition(Type.GUEST_PREPARED, Reason.PREPARED, status=True)


@dataclass
class Reconciles:
    """How many reconciles of each kind have ended."""

    ended: Counter[Kind] = field(default_factory=Counter[Kind])
    requeued: Counter[Kind] = field(default_factory=Counter[Kind])

    def observe(self, kind: Kind, result: Result, _seconds: float) -> None:
        self.ended[kind] += 1
        self.requeued[kind] += isinstance(result, RequeueAfter)


def add_resources(cloud: FakeOpenStack) -> None:
    cloud.state.add_subnet(cloud.state.add_network(), "pods", "10.98.0.0/20")
    cloud.state.add_group("pods")


def add_node(store: MemoryStore, name: str, server_id: str, **labels: str) -> None:
    taint = {"key": TAINT_AGENT_NOT_READY, "effect": "NoSchedule"}
    body: Json = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {LABEL_VETH: "true", **labels}},
        "spec": {"providerID": f"openstack:///{server_id}", "taints": [taint]},
        "status": {"allocatable": {"pods": "110"}},
    }
    store.create(NODES, body)


def add_pool(store: MemoryStore, name: str, cloud: str) -> None:
    """Add a pool for the nodes with the label `pool`."""
    body = pool_body(name)
    body["spec"] |= {"cloud": cloud, "nodeSelector": {"matchLabels": {"pool": name}}}
    body["spec"]["capacity"] = {"addressesPerENI": 2, "minAvailable": 1}
    store.create(ENIPOOLS, body)


def add_eni(store: MemoryStore, name: str, cloud: str, server: str, node: str) -> None:
    body = eni_body(name, node=node, pool=cloud)
    body["metadata"]["finalizers"] = [FINALIZER_ENI]
    body["spec"] |= {"cloud": cloud, "serverID": server}
    store.create(ENIS, body)


def has_taint(store: MemoryStore, node: str) -> bool:
    return bool(store.get(NODES, node)["spec"].get("taints"))


def add_podip_of_gone_node(store: MemoryStore) -> None:
    body = podip_body("pod", node=GONE)
    body["metadata"]["finalizers"] = [FINALIZER_PODIP]
    store.create(PODIPS, body)


def has_finalizer(store: MemoryStore) -> bool:
    return bool(store.get(PODIPS, "pod", "default")["metadata"].get("finalizers"))


def due_keys(operator: Controllers, cloud: str) -> int:
    """Return how many keys of the cloud wait for a thread."""
    due, _ = operator.workers.load().get(f"cloud-{cloud}", (0, 0.0))
    return due


def waits_for(operator: Controllers, cloud: str) -> float:
    """Return for how many seconds a key of the cloud has been due, and not been taken."""
    _, seconds = operator.workers.load().get(f"cloud-{cloud}", (0, 0.0))
    return seconds


def count_enis_with(store: MemoryStore, reason: Reason, message: str = "") -> int:
    """Return how many ENIs have a condition with this reason and message."""
    return sum(
        any(
            c["reason"] == reason and message in c["message"]
            for c in body.get("status", {}).get("conditions", ())
        )
        for body in store.list(ENIS).items
    )


def test_a_cloud_whose_keystone_does_not_answer_holds_up_no_other_work(tmp_path: Path) -> None:
    """Another cloud's key and one without a cloud are taken while none of its calls has ended."""
    store, file = MemoryStore(), tmp_path / "clouds.yaml"
    clock, reconciles = FakeClock(), Reconciles()
    with FakeOpenStack() as dead, FakeOpenStack() as good:
        dead.faults.add("", Slow(NEVER), times=math.inf)
        for name, cloud in (("dead", dead), ("good", good)):
            cloud.write_clouds_yaml(file, name)
            add_resources(cloud)
        add_pool(store, "dead", "dead")
        for n in range(UNREACHABLE_ENIS):
            add_eni(store, f"dead-{n}", "dead", "server", f"dead-{n}")
        add_podip_of_gone_node(store)
        with running_operator(
            store, file, limits=FAST, timeout=NEVER, observe=reconciles.observe, clock=clock
        ) as operator:
            waiting = UNREACHABLE_ENIS + 2 - Settings().threads  # with its pool and its sweep
            wait_for(lambda: due_keys(operator, "dead") == waiting, "its threads are all in calls")
            wait_for(lambda: reconciles.requeued[PODIPS], "the missing node has been looked for")
            clock.advance(NODE_GRACE_PERIOD)
            operator.workers.add(Key(PODIPS, GONE))
            add_pool(store, "good", "good")
            add_node(store, "n1", good.state.add_server().id, pool="good")
            add_node(store, "outside", "no-server")
            wait_for(lambda: not has_finalizer(store), "the PodIP of the node is released")
            wait_for(lambda: not has_taint(store, "outside"), "work without a cloud is done")
            wait_for(lambda: good.audit.counts["create port"], "the other cloud serves its node")
            assert due_keys(operator, "dead") == waiting
            assert [call.status for call in dead.audit.calls] == [None]
            assert operator.workers.alive()


@pytest.mark.exhaustive
def test_attachments_that_wait_for_their_turn_hold_up_nothing(tmp_path: Path) -> None:
    """Not even other work in the same cloud: no thread sleeps for a budget."""
    store, file, clock = MemoryStore(), tmp_path / "clouds.yaml", FakeClock()
    with FakeOpenStack() as cloud, FakeOpenStack() as other:
        for name, each in (("default", cloud), ("other", other)):
            each.write_clouds_yaml(file, name)
            add_resources(each)
            add_pool(store, name, name)
        for n in range(READY_TO_ATTACH):
            add_node(store, f"n{n}", cloud.state.add_server().id, pool="default")
        with running_operator(store, file, limits=ONE_PER_SECOND, clock=clock) as operator:
            calls = cloud.audit.counts
            wait_for(lambda: calls["create port"] == READY_TO_ATTACH, "each node has a port")
            prepare_all(store)
            throttled = READY_TO_ATTACH - BURST - BRIEFLY
            limit = "1 attachments per second"
            wait_for(
                lambda: count_enis_with(store, Reason.THROTTLED, limit) >= throttled,
                "the others wait",
            )
            add_node(store, "late", cloud.state.add_server().id, pool="default")
            add_node(store, "elsewhere", other.state.add_server().id, pool="other")
            add_node(store, "outside", "no-server")
            wait_for(lambda: calls["create port"] == READY_TO_ATTACH + 1, "a node that joins")
            wait_for(lambda: other.audit.counts["create port"], "a node of another cloud")
            wait_for(lambda: not has_taint(store, "outside"), "work without a cloud is done")
            assert calls["attach port"] == BURST
            clock.advance(3)
            for body in store.list(ENIS).items:
                operator.workers.add(Key(ENIS, body["metadata"]["name"]))
            wait_for(lambda: calls["attach port"] == BURST + 3, "one in each second has its turn")


def prepare_all(store: MemoryStore) -> None:
    """Report, as the agents do, that each node is prepared for the NIC."""
    for body in store.list(ENIS).items:
        prepared = {**encode(PREPARED), "lastTransitionTime": "2026-01-01T00:00:00Z"}
        report = status_of(body["metadata"]["name"], conditions=[prepared], node={})
        store.apply(ENIS, report, manager=MANAGER_AGENT, subresource="status")


def test_a_cloud_whose_reads_are_overdrawn_begins_nothing_and_holds_up_no_other(
    tmp_path: Path,
) -> None:
    """What has begun reads to its end; the others wait in the queue and spend nothing."""
    store, file = MemoryStore(), tmp_path / "clouds.yaml"
    clock, reconciles = FakeClock(), Reconciles()
    with FakeOpenStack() as busy, FakeOpenStack() as good:
        for name, cloud in (("busy", busy), ("good", good)):
            cloud.write_clouds_yaml(file, name)
            add_resources(cloud)
        for n in range(READING_ENIS):
            add_eni(store, f"busy-{n}", "busy", "server", f"busy-{n}")
        with running_operator(
            store, file, limits=READS_BOUND, observe=reconciles.observe, clock=clock
        ) as operator:
            wait_for(lambda: waits_for(operator, "busy") > PAUSE_SEEN, "due keys are not taken")
            most = READS_BOUND.reads + Settings().threads  # each reads once, at least
            assert 0 < reconciles.ended[ENIS] <= most
            assert due_keys(operator, "busy") >= READING_ENIS - most
            add_pool(store, "good", "good")
            add_node(store, "n1", good.state.add_server().id, pool="good")
            wait_for(lambda: good.audit.counts["create port"], "the other cloud serves its node")
            before = reconciles.ended[ENIS]
            clock.advance(NODE_GRACE_PERIOD)
            wait_for(lambda: reconciles.ended[ENIS] > before, "it goes on in time")


@pytest.mark.parametrize("enis", [60, pytest.param(1000, marks=pytest.mark.exhaustive)])
def test_a_refused_credential_costs_one_log_in_for_each_step_of_the_back_off(
    tmp_path: Path, enis: int
) -> None:
    """However many ENIs ask, and another cloud's node is served meanwhile."""
    store, file = MemoryStore(), tmp_path / "clouds.yaml"
    clock, reconciles = FakeClock(), Reconciles()
    with FakeOpenStack() as refusing, FakeOpenStack() as good:
        for name, cloud in (("refused", refusing), ("good", good)):
            cloud.write_clouds_yaml(file, name)
            add_resources(cloud)
        refused = Response(401, {"error": {"code": 401, "message": "The request is refused"}})
        refusing.faults.add("connect", ErrorBefore(refused), times=math.inf)
        add_pool(store, "good", "good")
        for n in range(enis):
            add_eni(store, f"e{n}", "refused", "server", f"n{n}")
        log_ins = refusing.audit.counts
        with running_operator(
            store, file, limits=FAST, observe=reconciles.observe, clock=clock
        ) as operator:
            wait_for(
                lambda: count_enis_with(store, Reason.CREDENTIALS_INVALID) == enis, "each says so"
            )
            assert refusing.audit.operations == ["connect"]
            for step, pause in enumerate((RETRY_SLOWLY, MAX_PAUSE, MAX_PAUSE), start=1):
                clock.advance(pause - 1)
                ask_all(operator, reconciles, enis)
                assert log_ins["connect"] == step
                clock.advance(1)
                ask_all(operator, reconciles, enis)
                assert log_ins["connect"] == step + 1
            add_node(store, "n1", good.state.add_server().id, pool="good")
            wait_for(lambda: good.audit.counts["create port"], "the other cloud serves its node")
            assert refusing.audit.operations == ["connect"] * 4


def ask_all(operator: Controllers, reconciles: Reconciles, enis: int) -> None:
    """Have each ENI reconciled once more."""
    before = reconciles.ended[ENIS]
    for n in range(enis):
        operator.workers.add(Key(ENIS, f"e{n}"))
    wait_for(lambda: reconciles.ended[ENIS] >= before + enis, "each has asked")
