"""The agent and its ENIs: configured, reported, retired, torn down; all in memory."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openeni_crds import names
from openeni_crds.conditions import Type, find
from openeni_crds.meta import Json
from openeni_nodeagent.enis.eni_reconciler import ENIReconciler
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import finish
from openeni_testing.agent.host import AgentHost, is_synced, knows_pod
from openeni_testing.store.memory import MemoryStore
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow


class RecordingStore(MemoryStore):
    """Records what the agent applies, before the store applies it."""

    def __init__(self, before_apply: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(bookmark_seconds=0.2)
        self.applied: list[str] = []
        self._before_apply = before_apply

    def apply(self, kind: names.Kind, body: Json, *, manager: str, **options: Any) -> Json:
        if manager == names.MANAGER_AGENT:
            what = f"{kind.name} {body['metadata']['name']}"
            self.applied.append(what)
            self._before_apply(what)
        return super().apply(kind, body, manager=manager, **options)


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    return AgentHost(tmp_path, executable)


def test_an_eni_that_is_being_deleted_waits_for_its_pods_and_is_torn_down(
    host: AgentHost,
) -> None:
    host.create_objects()
    with host.agent():
        address = host.add("web", "c1")
        host.store.delete(names.ENIS, "pods-0")
        generation = wait_for(
            lambda: host.eni().metadata.deleting and host.eni().metadata.generation, "deleting"
        )
        wait_for(lambda: len(host.node_status().retired) == 2, "free ones are given up")
        refused = host.node_status().refused
        assert [(r.address, r.generation) for r in refused] == [(address, generation)]
        assert host.datapath.torn_down == []
        host.delete("c1")
        wait_for(lambda: len(host.node_status().retired) == 3, "all are given up")
        wait_for(lambda: host.condition(Type.LINK_READY).reason == "Deleting", "released")
        assert host.datapath.torn_down == ["pods-0"]
        assert host.node_status().refused == ()


def test_addresses_asked_back_are_answered_at_the_generation_that_asked(
    host: AgentHost,
) -> None:
    host.create_objects()
    with host.agent():
        held = host.add("web", "c1")
        free = next(a for a in node_objects.addresses(3) if a != held)
        host.store.patch(
            names.ENIS,
            "pods-0",
            operations=[{"op": "add", "path": "/spec/retiring", "value": [held, free]}],
        )
        generation = host.eni().metadata.generation
        wait_for(lambda: host.node_status().retired, "it is answered")
        node = host.node_status()
        assert [(a.address, a.generation) for a in node.retired] == [(free, generation)]
        assert [(a.address, a.generation) for a in node.refused] == [(held, generation)]


def test_a_second_reconcile_of_the_same_state_writes_nothing(
    tmp_path: Path, executable: Path
) -> None:
    """Each queue keeps its order: once the last item is done, those before it are done."""
    store = RecordingStore()
    host = AgentHost(tmp_path, executable, store)
    host.datapath.nics.add(node_objects.mac(1))
    host.create_objects()
    with host.agent():
        for name in ("web", "last"):
            host.add(name, name)
        wait_for(lambda: host.node_status().granted == 2, "the pods are counted")
        for name in ("web", "last"):
            host.ready_podip(name)
        store.applied.clear()
        label = [{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]
        store.patch(
            names.NODES, "n1", operations=[{**label[0], "path": "/metadata/labels/x", "value": "y"}]
        )
        store.patch(names.ENIS, "pods-0", operations=label)
        store.patch(names.PODIPS, "web", "default", operations=label)
        node_objects.make_eni(store, "pods-1")
        node_objects.write_operator_status(store, "pods-1", number=1)
        bare: list[Json] = [{"op": "replace", "path": "/status", "value": {}}]
        store.patch(names.PODIPS, "last", "default", operations=bare, subresource="status")
        wait_for(lambda: host.node_status("pods-1").available == 3, "the last ENI is ready")
        host.ready_podip("last")
        assert set(store.applied) == {"ENI pods-1", "PodIP last"}


def test_all_changes_during_a_write_of_the_enis_status_are_one_more_write(
    tmp_path: Path, executable: Path
) -> None:
    burst, writing, go_on = threading.Event(), threading.Event(), threading.Event()

    def slowly(what: str) -> None:
        if burst.is_set() and what == "ENI pods-0":
            writing.set()
            assert go_on.wait(60)

    store = RecordingStore(slowly)
    host = AgentHost(tmp_path, executable, store)
    host.create_objects(count=20)
    with host.agent():
        wait_for(lambda: host.node_status().available == 20, "the ENI is ready")
        store.applied.clear()
        burst.set()
        host.add("p0", "c0")
        assert writing.wait(60)
        uids = {n: node_objects.make_pod(store, f"p{n}") for n in range(1, 20)}
        adds = [host.runtime(f"c{n}").start("ADD", f"c{n}", u, f"p{n}") for n, u in uids.items()]
        assert [finish(add).code for add in adds] == [0] * 19
        go_on.set()
        wait_for(lambda: host.node_status().granted == 20, "all are counted")
        assert store.applied.count("ENI pods-0") == 2


def test_the_node_is_labelled_with_the_modes_of_its_kernel(host: AgentHost) -> None:
    host.create_objects()
    with host.agent():
        wait_for(
            lambda: (
                host.store.get(names.NODES, "n1")["metadata"]["labels"].get(names.LABEL_VETH)
                == "true"
            ),
            "the label is there",
        )
        labels = host.store.get(names.NODES, "n1")["metadata"]["labels"]
        assert labels[names.LABEL_IPVLAN] == "false"
        assert labels["kubernetes.io/os"] == "linux"


def installed(host: AgentHost) -> list[str]:
    """Return which of openeni's files are on the host, for the container runtime."""
    paths = (host.folder / "bin" / "openeni", host.conflist, host.settings.served)
    return [path.name for path in paths if path.exists()]


def cni_configured(host: AgentHost, reason: str) -> None:
    wait_for(lambda: host.condition(Type.CNI_CONFIGURED).reason == reason, reason)


def test_the_runtime_is_configured_once_pods_can_be_served_and_until_no_pool_serves_the_node(
    host: AgentHost,
) -> None:
    node_objects.make_node(host.store)
    node_objects.make_pool(host.store)
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent is synced")
        node_objects.make_eni(host.store)
        node_objects.write_operator_status(host.store, attached=False)
        cni_configured(host, "WaitingForNIC")
        assert installed(host) == []
        assert host.runtime("x").call("STATUS").error == 50
        node_objects.write_operator_status(host.store)
        cni_configured(host, "Configured")
        assert installed(host) == ["openeni", "10-openeni.conflist", "served"]
        assert host.runtime("x").call("STATUS").code == 0
        host.add("web", "c1")
        host.store.delete(names.ENIPOOLS, "pods")
        host.store.delete(names.ENIS, "pods-0")
        wait_for(lambda: len(host.node_status().retired) == 2, "free addresses are given up")
        assert installed(host) == ["openeni", "10-openeni.conflist", "served"]
        host.delete("c1")
        wait_for(lambda: host.condition(Type.LINK_READY).reason == "Deleting", "released")
        host.store.patch(
            names.ENIS, "pods-0", operations=[{"op": "remove", "path": "/metadata/finalizers"}]
        )
        wait_for(lambda: installed(host) == [], "nothing is left for the runtime")


def test_after_a_boot_a_configuration_that_is_still_there_serves_nothing_yet(
    host: AgentHost,
) -> None:
    host.create_objects()
    with host.agent():
        cni_configured(host, "Configured")
    host.settings.served.unlink()
    host.datapath.nics.clear()
    with host.agent(boot="next"):
        wait_for(lambda: host.condition(Type.LINK_READY).reason == "WaitingForNIC", "it is awaited")
        assert host.conflist.exists()
        assert host.runtime("x").call("STATUS").error == 50
        host.datapath.nics.add(node_objects.mac(0))
        wait_for(lambda: host.runtime("x").call("STATUS").code == 0, "the node serves again")


def test_another_cni_plugin_is_named_and_the_node_is_not_taken_from_it(host: AgentHost) -> None:
    other = host.conflist.with_name("20-other.conflist")
    other.write_text('{"plugins": [{"type": "bridge"}]}')
    host.create_objects()
    with host.agent():
        cni_configured(host, "OtherCNI")
        assert other.name in host.condition(Type.CNI_CONFIGURED).message
        assert installed(host) == []
        other.unlink()
        wait_for(lambda: installed(host) != [], "the node is openeni's", 60)
        cni_configured(host, "Configured")


def test_probes_say_why_the_agent_is_not_ready(host: AgentHost) -> None:
    with host.agent():
        asked = host.runtime("x").ask("ready")
        assert (asked.returncode, "not been read" in asked.stdout) == (1, True)
        assert host.runtime("x").ask("live").returncode == 0
        host.create_objects()
        wait_for(lambda: host.runtime("x").ask("ready").stdout == "ok\n", "it is ready")


def test_a_nic_that_appears_late_is_awaited_and_found(host: AgentHost) -> None:
    host.datapath.nics.clear()
    host.create_objects()
    with host.agent():
        wait_for(lambda: host.condition(Type.LINK_READY).reason == "WaitingForNIC", "it is awaited")
        host.datapath.nics.add(node_objects.mac(0))
        wait_for(lambda: host.condition(Type.LINK_READY).reason == "LinkUp", "it is found")
        assert host.node_status().ifindex == 100


def test_an_add_on_an_eni_whose_nic_is_gone_may_be_retried_and_keeps_no_address(
    host: AgentHost,
) -> None:
    host.create_objects()
    with host.agent() as agent:
        wait_for(lambda: host.node_status().available == 3, "the ENI is ready")
        uid = node_objects.make_pod(host.store, "web")
        wait_for(lambda: knows_pod(agent, uid), "the watch has shown the pod")
        host.datapath.nics.clear()
        answer = host.runtime("c1").call("ADD", "c1", uid, "web")
        assert answer.error == 11
        assert "NIC of ENI pods-0 is gone" in answer.body["details"]
        assert host.datapath.owners() == {}
        host.datapath.nics.add(node_objects.mac(0))
        assert host.runtime("c1").call("ADD", "c1", uid, "web").code == 0


def test_the_guards_of_an_eni_that_is_gone_are_removed(host: AgentHost) -> None:
    host.create_objects()
    with host.agent():
        guard = host.folder / "networkd" / "05-openeni-fa163e000000.network"
        wait_for(guard.exists, "networkd is kept off")
        host.store.delete(names.ENIS, "pods-0")
        wait_for(lambda: host.condition(Type.LINK_READY).reason == "Deleting", "released")
        done: list[Json] = [{"op": "replace", "path": "/metadata/finalizers", "value": []}]
        host.store.patch(names.ENIS, "pods-0", operations=done)
        host.datapath.nics.clear()
        host.datapath.changed()
        wait_for(lambda: not guard.exists(), "the guard is gone")


def test_adds_need_not_wait_until_guards_can_be_swept(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep(_: ENIReconciler) -> None:
        raise OSError("Too many open files")

    monkeypatch.setattr(ENIReconciler, "sweep_guards", sweep)
    host.create_objects()
    with host.agent():
        host.add("web", "c1")
        assert host.runtime("probe").ask("live").stdout == "ok\n"


def test_a_podip_shows_when_its_address_left_the_port(host: AgentHost) -> None:
    host.create_objects(count=1)
    with host.agent():
        host.add("web", "c1")
        wait_for(lambda: host.podip("web"), "the PodIP is there")
        node_objects.write_operator_status(host.store, count=0)

        def lost() -> bool:
            podip = host.podip("web")
            said = find(podip.status.conditions, Type.ASSIGNED) if podip else None
            return said is not None and said.reason == "AddressNotOnPort"

        wait_for(lost, "Assigned is False")
