"""A real etcd is restored from a backup under the operator's process and an agent's informers."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openeni_crds.eni import ENI
from openeni_crds.meta import Json, decode
from openeni_crds.names import ENIPOOLS, ENIS, LABEL_VETH, NAMESPACES, NODES, port_name
from openeni_kube.client import KubeStore
from openeni_nodeagent.cluster.watches import Caches, Watches
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.lab.api_server import ApiServer
from openeni_testing.objects import REPOSITORY, pool_body
from openeni_testing.waiting import wait_for

POOL = "restored"
HERE = ("restored-a", "restored-b", "restored-c")  # nodes; the last one comes after the backup


@contextmanager
def operator_process(folder: Path, kubeconfig: Path) -> Generator["subprocess.Popen[bytes]"]:
    paths = os.pathsep.join(str(REPOSITORY / p) for p in ("operator", "kube", "crds"))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPENENI_", "OS_", "KUBE"))}
    given = {
        "PYTHONPATH": paths,
        "KUBECONFIG": str(kubeconfig),
        "OPENENI_CLOUDS_FILE": str(folder / "clouds.yaml"),
        "OPENENI_PROBE_PORT": "0",
    }
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "openeni_operator"],
            env=kept | given,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@contextmanager
def agent_caches(store: KubeStore, node: str) -> Generator[Caches]:
    """Yield the caches of a node's agent, filled by its own informers."""
    caches = Caches()
    watches = Watches(store, caches, node, cidrs=False)
    watches.start()
    try:
        yield caches
    finally:
        watches.stop()


def add_node(store: KubeStore, name: str, server: str) -> None:
    body: Json = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {LABEL_VETH: "true"}},
        "spec": {"providerID": f"openstack:///{server}"},
    }
    store.create(NODES, body)


def set_group(store: KubeStore, name: str) -> None:
    path = "/spec/securityGroups"
    store.patch(ENIPOOLS, POOL, operations=[{"op": "add", "path": path, "value": [{"name": name}]}])


@pytest.fixture
def store(real_store: KubeStore) -> Iterator[KubeStore]:
    yield real_store
    for name in HERE:
        real_store.delete(NODES, name)


def groups(cloud: FakeOpenStack, store: KubeStore) -> dict[str, tuple[str, ...]]:
    """Return the security groups of each node's port, and assert that each ENI has just one."""
    cluster = store.get(NAMESPACES, "kube-system")["metadata"]["uid"]
    ports = list(cloud.state.ports.all())
    counts = Counter(port.name for port in ports)
    names = {cloud.state.groups[group].name: group for group in cloud.state.groups}
    assert names
    found: dict[str, tuple[str, ...]] = {}
    for eni in (decode(body, ENI) for body in store.list(ENIS).items):
        name = port_name(cluster, eni.metadata.uid)
        assert counts[name] == 1, f"{eni.name} has {counts[name]} ports"
        (port,) = (p for p in ports if p.name == name)
        assert eni.status.port is not None
        assert eni.status.port.id == port.id
        found[eni.spec.node_name] = tuple(cloud.state.groups[g].name for g in port.groups)
    return found


@pytest.mark.cluster
def test_operator_and_agent_go_along_without_a_restart(
    tmp_path: Path, store: KubeStore, control_plane: ApiServer
) -> None:
    with FakeOpenStack() as cloud:
        cloud.write_clouds_yaml(tmp_path / "clouds.yaml")
        cloud.state.add_subnet(cloud.state.add_network(), "pods", "10.98.0.0/20")
        for name in ("pods", "other"):
            cloud.state.add_group(name)
        servers = {name: cloud.state.add_server(name).id for name in HERE}
        for name in HERE[:2]:
            add_node(store, name, servers[name])
        store.create(ENIPOOLS, pool_body(POOL))
        with (
            operator_process(tmp_path, control_plane.kubeconfig) as operator,
            agent_caches(store, HERE[0]) as caches,
        ):
            before = dict.fromkeys(HERE[:2], ("pods",))
            wait_for(lambda: groups(cloud, store) == before, "both nodes have a port")
            control_plane.back_up(tmp_path / "backup")
            set_group(store, "other")
            add_node(store, HERE[2], servers[HERE[2]])
            wait_for(
                lambda: groups(cloud, store) == dict.fromkeys(HERE, ("other",)), "all is as asked"
            )
            wait_for(lambda: group_in(caches) == "other", "the agent knows")
            lost = {body["metadata"]["uid"] for body in store.list(ENIS).items}
            control_plane.restore(tmp_path / "backup")
            add_node(store, HERE[2], servers[HERE[2]])  # its kubelet is back
            wait_for(
                lambda: groups(cloud, store) == dict.fromkeys(HERE, ("pods",)), "it is as before"
            )
            wait_for(lambda: group_in(caches) == "pods", "the agent knows that, too")
            assert {eni.spec.node_name for eni in caches.enis.all()} == {HERE[0]}
            now = {body["metadata"]["uid"] for body in store.list(ENIS).items}
            assert len(now & lost) == len(HERE) - 1, "the third is a new one"
            assert len(list(cloud.state.ports.all())) == len(HERE) + 1, "whose port the sweep names"
            assert operator.poll() is None
            log = (tmp_path / "log").read_text()
            assert log.count("operator started") == 1
            assert "etcd was restored from a backup" in log


def group_in(caches: Caches) -> str:
    pool = caches.pools.get(POOL)
    return (pool.spec.security_groups[0].name or "") if pool else ""
