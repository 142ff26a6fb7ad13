"""Static pods: kubelet gives the runtime one UID, the API server shows another."""

from pathlib import Path

import pytest

from openeni_crds import names
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost, grant_of, is_synced, knows_pod
from openeni_testing.waiting import wait_for

UID = "9d1f0a7c2b4e4f6a8c0d1e2f3a4b5c6d"  # the hash of the pod's file
ANNOTATIONS = {
    "kubernetes.io/config.hash": UID,
    "kubernetes.io/config.mirror": UID,
    "kubernetes.io/config.source": "file",
}


@pytest.fixture
def host(tmp_path: Path, executable: Path) -> AgentHost:
    host = AgentHost(tmp_path, executable)
    host.create_objects()
    return host


def owners(host: AgentHost) -> list[str]:
    podip = host.podip("dns-n1")
    return [owner.uid for owner in podip.metadata.owner_references] if podip else []


def test_a_static_pod_gets_an_address_and_a_podip_that_its_mirror_pod_owns(
    host: AgentHost,
) -> None:
    mirror = node_objects.make_pod(host.store, "dns-n1", ANNOTATIONS)
    with host.agent() as agent:
        host.add("dns-n1", "c1", UID)
        assert grant_of(agent, "c1").api_uid == mirror  # so says the grant log, too
        podip = host.ready_podip("dns-n1")
        assert podip.spec.pod_uid == mirror
        assert owners(host) == [mirror]
        host.delete("c1")
        wait_for(lambda: host.podip("dns-n1") is None, "the PodIP is gone")


def test_the_podip_follows_a_mirror_pod_that_kubelet_makes_anew(host: AgentHost) -> None:
    first = node_objects.make_pod(host.store, "dns-n1", ANNOTATIONS)
    with host.agent() as agent:
        address = host.add("dns-n1", "c1", UID)
        host.ready_podip("dns-n1")
        host.store.delete(names.PODS, "dns-n1", "default")
        wait_for(lambda: not knows_pod(agent, first), "the watch has told of its end")
        host.store.delete(names.PODIPS, "dns-n1", "default")  # as the garbage collector does
        second = node_objects.make_pod(host.store, "dns-n1", ANNOTATIONS)
        wait_for(lambda: owners(host) == [second], "the new mirror pod owns it")
        assert host.ready_podip("dns-n1").spec.addresses == (address,)


def forge_mirror(host: AgentHost) -> str:
    """Create a tenant's pod that says it was the mirror of the static pod; return its UID."""
    made = host.store.create(
        names.PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "forged", "namespace": "tenant", "annotations": ANNOTATIONS},
            "spec": {"nodeName": node_objects.NODE},
        },
    )
    return str(made["metadata"]["uid"])


def test_a_tenants_pod_takes_neither_a_static_pods_place_nor_its_podip(host: AgentHost) -> None:
    mirror = node_objects.make_pod(host.store, "dns-n1", ANNOTATIONS)
    with host.agent() as agent:
        forged = forge_mirror(host)
        wait_for(lambda: knows_pod(agent, forged), "the watch has shown it")
        address = host.add("dns-n1", "c1", UID)
        assert host.ready_podip("dns-n1").spec.pod_uid == mirror
        assert owners(host) == [mirror]
    with host.agent() as agent:  # whose list may show the mirror pod before the other
        wait_for(lambda: is_synced(agent), "the agent serves")
        host.add("web", "c2")
        host.ready_podip("web")
        assert host.ready_podip("dns-n1").spec.addresses == (address,)
        assert owners(host) == [mirror]


def test_the_grant_of_a_static_pod_is_adopted_under_the_uid_of_its_runtime(
    host: AgentHost,
) -> None:
    node_objects.make_pod(host.store, "dns-n1", ANNOTATIONS)
    with host.agent():
        address = host.add("dns-n1", "c1", UID)
        host.ready_podip("dns-n1")
    host.settings.journal.unlink()
    with host.agent() as agent:
        wait_for(lambda: is_synced(agent), "the agent serves")
        wait_for(lambda: host.node_status().granted == 1, "the pod is known again")
        assert host.add("dns-n1", "c1", UID) == address
