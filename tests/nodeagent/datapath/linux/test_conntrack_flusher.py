"""What pods have given back is flushed until it is, and never what another pod has by then."""

import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath import conntrack_flusher
from openeni_nodeagent.datapath.conntrack_flusher import ConntrackFlusher
from openeni_nodeagent.datapath_api import KernelRefusedError
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import OneENI

POD, POD_6, OTHER = "10.98.0.5", "fd98::5", "10.98.0.6"


class Flushes:
    """What is flushed, which the kernel may refuse."""

    def __init__(self) -> None:
        self.of: list[set[str]] = []
        self.refused = False
        self.meanwhile: Callable[[], None] = lambda: None

    def flush(self, addresses: Iterable[str]) -> int:
        self.of.append(set(addresses))
        self.meanwhile()
        if self.refused:
            raise KernelRefusedError("Too many open files")
        return 0


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Flushes:
    made = Flushes()
    monkeypatch.setattr(conntrack_flusher, "flush", made.flush)
    return made


def test_a_failure_is_logged_once(flushes: Flushes, caplog: pytest.LogCaptureFixture) -> None:
    flusher = ConntrackFlusher()
    flushes.refused = True
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            flusher.add([POD])
            flusher.flush()
    assert len(caplog.records) == 1


def test_what_could_not_be_flushed_is_flushed_with_the_next(flushes: Flushes) -> None:
    flusher = ConntrackFlusher()
    flusher.add([POD])
    flushes.refused = True
    flusher.flush()
    flushes.refused = False
    flusher.add([POD_6])
    for _ in range(2):
        flusher.flush()
    assert flushes.of == [{POD}, {POD, POD_6}]


def test_what_is_freed_during_a_flush_is_flushed_again(flushes: Flushes) -> None:
    flusher = ConntrackFlusher()
    flusher.add([POD, POD_6])
    flushes.meanwhile = lambda: flusher.add([POD])
    flusher.flush()
    flushes.meanwhile = lambda: None
    flusher.flush()
    assert flushes.of == [{POD, POD_6}, {POD}]


@pytest.mark.parametrize("refused", [False, True])
def test_what_a_pod_gets_is_flushed_before_and_never_later(flushes: Flushes, refused: bool) -> None:
    flusher = ConntrackFlusher()
    flusher.give([OTHER])
    flusher.add([POD, POD_6])
    flushes.refused = refused
    flusher.give([POD])
    flusher.add([OTHER])
    flusher.flush()
    assert flushes.of == [{POD, POD_6}, {POD_6, OTHER} if refused else {OTHER}]


@pytest.mark.root
def test_the_next_pod_inherits_no_flow_and_keeps_its_own(flushes: Flushes) -> None:
    with ExitStack() as ending:
        one = OneENI(Datapath(Mode.VETH))
        ending.callback(one.close)
        pod = ending.enter_context(Namespace("pod"))
        one.add(pod.path)
        one.node.run(one.node.datapath.delete, one.pod)
        flushes.refused = True
        one.node.run(one.node.datapath.finish_delete, one.pod, pod.path)
        flushes.refused = False
        flushes.of.clear()
        one.add(pod.path)
        assert flushes.of == [set(one.addresses)]
        one.node.look()
        assert flushes.of == [set(one.addresses)]
