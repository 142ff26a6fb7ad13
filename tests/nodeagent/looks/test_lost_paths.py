"""Pods whose network namespaces somebody has unmounted, and which run on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.conditions import Status, Type, find
from openeni_testing.agent import node_objects
from openeni_testing.agent.cni_call import Runtime
from openeni_testing.agent.real_node import RealNode
from openeni_testing.network.netns import Namespace
from openeni_testing.objects import remove
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root


def unmount(path: Path) -> None:
    """As `umount` in /run/netns: what the namespace was mounted on stays."""
    path.unlink()
    path.touch()


@pytest.mark.parametrize("leave", [Path.unlink, unmount])
def test_a_pod_whose_namespace_has_lost_its_path_is_not_ready_until_its_end(
    node: RealNode, tmp_path: Path, leave: Callable[[Path], None]
) -> None:
    """`ip -all netns delete`: it runs on, and nothing in it is put right any more."""
    path = tmp_path / "cni-web"

    def message() -> str:
        podip = node.host.podip("web")
        found = find(podip.status.conditions, Type.DATAPATH_READY) if podip else None
        return found.message if found and found.status == Status.FALSE else ""

    with Namespace("web") as pod:
        path.symlink_to(pod.path)
        runtime = Runtime(node.host.executable, node.host.settings.run, path)
        with node.agent():
            uid = node_objects.make_pod(node.host.store, "web")
            assert runtime.call("ADD", "web", uid, "web").code == 0
            node.host.ready_podip("web")
        leave(path)
        with node.agent():  # which looks into every pod
            assert str(path) in wait_for(message, "its datapath is not ready")
            assert pod.ping("10.98.0.1")
            assert runtime.call("DEL", "web").code == 0
            remove(node.host.store, names.PODS, "web", "default")
            wait_for(lambda: node.host.podip("web") is None, "its PodIP is gone")
