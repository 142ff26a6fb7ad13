"""The whole agent with pods that keep their address, or ask for one."""

from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Reason, Type, find
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost, is_synced
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.slow

STICKY = {names.ANNOTATION_STICKY: "1h"}


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    made = AgentHost(tmp_path, executable)
    made.create_objects()
    return made


def reason(host: AgentHost, name: str) -> str:
    """Return why the PodIP is Ready or not; "" if it says nothing."""
    podip = host.podip(name)
    found = find(podip.status.conditions, Type.READY) if podip else None
    return found.reason if found else ""


def test_a_pod_has_its_address_again_after_a_restart_and_after_a_reboot(host: AgentHost) -> None:
    with host.agent():
        first = host.add("web-0", "c1", node_objects.make_pod(host.store, "web-0", STICKY))
        host.ready_podip("web-0")
        host.delete("c1")
        host.store.delete(names.PODS, "web-0", "default")
        wait_for(lambda: reason(host, "web-0") == Reason.RETAINED, "the address is kept")
    with host.agent(boot="another"):
        others = {host.add(f"p{n}", f"d{n}") for n in range(2)}
        assert first not in others
        again = node_objects.make_pod(host.store, "web-0", STICKY)
        assert host.add("web-0", "c2", again) == first
        wait_for(lambda: host.holds("web-0", uid=again), "the PodIP is the new pod's")
        host.ready_podip("web-0")
        host.store.delete(names.PODIPS, "web-0", "default")
        host.delete("c2")
        host.store.delete(names.PODS, "web-0", "default")
        wait_for(lambda: host.podip("web-0") is None, "whoever deletes the PodIP ends it")


def test_a_pod_that_asks_for_an_address_says_so_while_it_waits(host: AgentHost) -> None:
    wish = {names.ANNOTATION_ADDRESS: "10.98.9.9"}
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent has read its objects")
        uid = node_objects.make_pod(host.store, "db", wish)
        answer = host.runtime("c1", deadline=2).call("ADD", "c1", uid, "db")
        assert answer.error == 11
        assert "10.98.9.9 is on no ENI of this node yet" in answer.body["details"]
        wait_for(lambda: reason(host, "db") == Reason.WAITING_FOR_ADDRESS, "it has a PodIP")
        podip = host.podip("db")
        assert podip is not None
        assert (podip.spec.address, podip.spec.eni_name, podip.is_watched) == (
            "10.98.9.9",
            "",
            True,
        )
        host.store.delete(names.PODS, "db", "default")
        wait_for(lambda: host.podip("db") is None, "it has none any more")
