"""An ADD that fails says whether it could remove again what it had built."""

from pathlib import Path

import pytest

from openeni_nodeagent.datapath import kernel_datapath
from openeni_nodeagent.datapath.links import NodePod
from openeni_nodeagent.datapath.pod import build
from openeni_nodeagent.datapath_api import DatapathError, KernelRefusedError
from openeni_nodeagent.phases import Stopwatch
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import OneENI

pytestmark = pytest.mark.root
BUSY = "netlink: the kernel's tables change faster than they can be read"


def busy(*_: object) -> None:
    raise KernelRefusedError(BUSY)


def failure(bench: OneENI, netns: Namespace) -> DatapathError:
    with pytest.raises(KernelRefusedError, match="tables change") as raised:
        bench.add(netns.path)
    return raised.value


def in_kernel(bench: OneENI) -> set[str]:
    return bench.node.pod_addresses()


def test_what_could_not_be_removed_is_left_behind_for_the_del(
    bench: OneENI, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def half(pod: NodePod, namespace: int, stopwatch: Stopwatch) -> None:
            build(pod, namespace, stopwatch)
            busy()

        patch.setattr(kernel_datapath, "build_from_template", half)
        patch.setattr(kernel_datapath, "repair", busy)
        assert not failure(bench, netns).left_behind
        assert in_kernel(bench) == set()
        patch.setattr(kernel_datapath, "clear", busy)
        assert failure(bench, netns).left_behind
        assert in_kernel(bench) == set(bench.addresses)
    bench.delete(netns.path)
    assert in_kernel(bench) == set()


def test_whatever_error_it_was_nothing_is_left(
    bench: OneENI,
    netns: Namespace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A decoder may meet what it was not made for: root in the pod decides what is there."""

    def undecodable(*_: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'decode'")

    monkeypatch.setattr(kernel_datapath, "build_from_template", busy)
    monkeypatch.setattr(kernel_datapath, "repair", undecodable)
    with pytest.raises(KernelRefusedError, match="cannot be built: AttributeError") as raised:
        bench.add(netns.path)
    assert not raised.value.left_behind
    assert in_kernel(bench) == set()
    assert "undecodable" in caplog.text
    monkeypatch.setattr(kernel_datapath, "clear", undecodable)
    with pytest.raises(KernelRefusedError) as raised:
        bench.add(netns.path)
    assert raised.value.left_behind


def test_a_pod_that_is_built_is_answered_although_nobody_can_wait_for_it(
    bench: OneENI, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_datapath, "wait_until_reachable", busy)
    bench.add(netns.path)
    assert bench.check(netns.path) == ()
    bench.delete(netns.path)


def test_a_namespace_that_has_ended_leaves_nothing(bench: OneENI, tmp_path: Path) -> None:
    """Of it the plain file is left that it was mounted on."""
    before = bench.state()
    path = tmp_path / "cni-1"
    path.touch()
    with pytest.raises(DatapathError) as raised:
        bench.add(str(path))
    assert not raised.value.left_behind
    assert bench.state() == before
