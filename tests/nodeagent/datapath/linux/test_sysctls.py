"""Sysctls of pods are reached by mounts of the agent's own: nothing stays in the node's /proc."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.linux import sysctls
from openeni_nodeagent.datapath.linux.sysctls import (
    USES_OF_A_MOUNT,
    observe_pod_sysctls,
    write_pod_sysctls,
)
from openeni_nodeagent.datapath.model import Sysctl
from openeni_testing.network.netns import Namespace
from openeni_testing.network.neutron import NeutronNetwork
from openeni_testing.network.node import Node, eni_facts

pytestmark = pytest.mark.root
IN_POD: Final = Sysctl("net/ipv4/conf/lo/forwarding", "1")


@pytest.fixture
def namespace() -> Generator[Namespace]:
    made = Namespace("pod")
    yield made
    made.close()


def test_no_look_up_of_a_pod_goes_through_the_nodes_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount keeps what was found in each namespace, and each look-up goes through all of it."""
    network = NeutronNetwork()
    node = Node("node", network, "10.99.0.11", "")
    count = USES_OF_A_MOUNT + 2
    addresses = tuple(f"10.98.0.{20 + n}" for n in range(count))
    eni = eni_facts("eni", 10, Datapath(Mode.VETH))
    node.attach("ens10", eni, addresses)
    of_others = namespace_inode(), node.namespace.run(namespace_inode)
    of_pods, plain_open = list[int](), os.open

    def seen(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened = plain_open(path, flags, mode, dir_fd=dir_fd)
        if namespace_inode() not in of_others and "net/ipv" in path:
            of_pods.append(os.fstat(opened).st_dev)
        return opened

    monkeypatch.setattr(os, "open", seen)
    for number, address in enumerate(addresses):
        node.add(f"pod-{number}", eni, address)
    after_adds = len(of_pods)
    assert after_adds >= count
    assert Path("/proc").stat().st_dev not in of_pods
    assert node.look(into=True).differing == {}
    assert len(of_pods) >= after_adds + count
    assert Path("/proc").stat().st_dev not in of_pods
    node.close()
    network.close()


def test_a_mount_ends_with_its_last_use(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = list[int]()
    plain_mount = sysctls.mount_proc

    def mount() -> int:
        mounted.append(plain_mount())
        return mounted[-1]

    monkeypatch.setattr(sysctls, "_PODS", sysctls.PodSysctls())
    monkeypatch.setattr(sysctls, "mount_proc", mount)
    for _ in range(3 * USES_OF_A_MOUNT):
        namespace.run(write_pod_sysctls, [IN_POD])
    assert len(mounted) == 3
    assert [one for one in set(mounted) if is_of_proc(one)] == mounted[-1:]


DENIALS = [
    ("_FSOPEN", -1, "Function not implemented"),
    ("_NOSUID_NODEV_NOEXEC", 0xF, "Read-only file system"),  # MOUNT_ATTR_RDONLY as well
]


@pytest.mark.parametrize("denial", DENIALS)
def test_where_mounts_or_their_use_are_denied_the_nodes_proc_serves(
    namespace: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    denial: tuple[str, int, str],
) -> None:
    changed, to, words = denial
    monkeypatch.setattr(sysctls, "_PODS", sysctls.PodSysctls())
    monkeypatch.setattr(sysctls, changed, to)
    with caplog.at_level("INFO"):
        for _ in range(2 * USES_OF_A_MOUNT):
            namespace.run(write_pod_sysctls, [IN_POD])
    assert namespace.run(observe_pod_sysctls, frozenset({IN_POD})) == {IN_POD}
    assert [r.getMessage() for r in caplog.records] == [
        f"ADDs take longer with many pods: a mount of /proc is denied: {words}"
    ]


def namespace_inode() -> int:
    """Return the number of the calling thread's network namespace."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def is_of_proc(descriptor: int) -> bool:
    """Return True for the descriptor of a mount of /proc that has not been closed."""
    try:
        os.close(os.open("sys/net", os.O_PATH, dir_fd=descriptor))
    except OSError:
        return False
    return True
