"""A namespace of ipvlan is held from the DEL until its link has been removed, and no longer."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.cni.protocol import CNIError
from openeni_nodeagent.grants.journal import Journal, JournalError
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts
from openeni_testing.open_files import no_more_files

IPVLAN = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2))


def made(folder: Path, datapath: Datapath) -> AgentParts:
    """An agent with the container c1."""
    parts = AgentParts(folder)
    node_objects.make_pool(parts.store, datapath=datapath)
    node_objects.make_eni(parts.store, datapath=datapath)
    node_objects.write_operator_status(parts.store, count=4)
    parts.sync()
    parts.grant("web", "c1")
    return parts


@pytest.fixture
def parts(tmp_path: Path) -> AgentParts:
    return made(tmp_path, IPVLAN)


def open_files(folder: Path) -> list[str]:
    """Return which files that stand for namespaces this process has open."""
    numbers = Path("/proc/self/fd")
    found = [one.readlink() for one in numbers.iterdir() if one.is_symlink()]
    return [one.name for one in found if one.parent == folder and one.name.startswith("netns-")]


def delete(parts: AgentParts) -> None:
    """Call DEL, and remove the path, as runtimes do."""
    parts.detacher.delete("c1", "eth0", str(parts.netns("c1")))
    parts.netns("c1").unlink()


def test_a_link_is_removed_though_no_path_leads_to_it_any_more(
    parts: AgentParts, tmp_path: Path
) -> None:
    delete(parts)
    assert open_files(tmp_path) == ["netns-c1 (deleted)"]
    parts.finish()
    ((container, path),) = parts.datapath.ended
    assert (container, path.rpartition("/")[0]) == ("c1", "/proc/self/fd")
    assert open_files(tmp_path) == []


def test_the_namespace_of_a_veth_pod_is_not_held(tmp_path: Path) -> None:
    parts = made(tmp_path, Datapath(Mode.VETH))
    delete(parts)
    assert open_files(tmp_path) == []
    parts.finish()
    assert parts.datapath.ended == [("c1", "")]


def add_again(parts: AgentParts) -> None:
    grant = parts.grant("again", "c1", connect=False)
    with parts.locks.locked("c1"):
        parts.detacher.finish_before(grant)


def add_another(parts: AgentParts) -> None:
    grant = parts.grant("other", "c2", connect=False)
    parts.detacher.finish_before(grant)


def have_a_grant_again(parts: AgentParts) -> None:
    parts.grant("again", "c1")
    parts.finish()


def stop(parts: AgentParts) -> None:
    parts.detacher.stop()


@pytest.mark.parametrize("then", [add_again, add_another, have_a_grant_again, stop])
def test_it_is_held_no_longer_whatever_comes_first(
    parts: AgentParts, tmp_path: Path, then: Callable[[AgentParts], None]
) -> None:
    parts.netns("c2").hardlink_to(parts.netns("c1"))
    delete(parts)
    assert len(open_files(tmp_path)) == 1
    then(parts)
    assert open_files(tmp_path) == []
    removed = [container for container, _ in parts.datapath.ended]
    parts.finish()
    assert [container for container, _ in parts.datapath.ended] == removed


def test_a_container_that_is_busy_when_the_agent_stops_keeps_its_own(
    parts: AgentParts, tmp_path: Path
) -> None:
    delete(parts)
    with parts.locks.locked("c1"):
        parts.detacher.stop()
        assert len(open_files(tmp_path)) == 1
    parts.finish()
    assert open_files(tmp_path) == []


def test_a_del_that_fails_holds_nothing_and_one_that_is_not_recorded_no_more_than_one(
    parts: AgentParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.datapath.refused = "EPERM"
    with pytest.raises(CNIError):
        parts.detacher.delete("c1", "eth0", "")
    assert open_files(tmp_path) == []
    parts.datapath.refused = ""

    def refuse(*_: object) -> None:
        raise JournalError("no space")

    with monkeypatch.context() as full:
        full.setattr(Journal, "append", refuse)
        for _ in range(2):
            with pytest.raises(JournalError):
                parts.detacher.delete("c1", "eth0", "")
    delete(parts)
    assert open_files(tmp_path) == ["netns-c1 (deleted)"]
    parts.finish()
    assert open_files(tmp_path) == []
    assert [container for container, _ in parts.datapath.ended] == ["c1"]


def test_a_del_that_cannot_hold_it_fails_and_is_repeated(parts: AgentParts) -> None:
    """It may be there: a DEL that succeeds is the last one."""
    with no_more_files(), pytest.raises(CNIError, match="cannot be removed") as raised:
        parts.detacher.delete("c1", "eth0", "")
    assert "Too many open files" in raised.value.details
    assert parts.grants.find("c1", "eth0")
    delete(parts)
    parts.finish()
    ((container, path),) = parts.datapath.ended
    assert (container, path.rpartition("/")[0]) == ("c1", "/proc/self/fd")


def test_a_link_that_cannot_be_removed_yet_stays_within_reach(
    parts: AgentParts, tmp_path: Path
) -> None:
    delete(parts)
    parts.datapath.refused = "EBUSY"
    parts.detacher.finish("c1/eth0")
    parts.datapath.refused = ""
    assert len(open_files(tmp_path)) == 1
    parts.finish()
    assert open_files(tmp_path) == []
    assert len(parts.datapath.ended) == 1


def test_another_namespace_at_the_pods_path_is_not_held(parts: AgentParts, tmp_path: Path) -> None:
    parts.netns("c1").unlink()
    parts.netns("c1").touch()
    parts.detacher.delete("c1", "eth0", str(parts.netns("c1")))
    # The number of the first file may have been given to the second.
    assert open_files(tmp_path) in ([], ["netns-c1"])
    parts.finish()
    assert open_files(tmp_path) == []


def test_a_path_that_is_no_namespace_does_not_hold_up_the_del(parts: AgentParts) -> None:
    os.mkfifo(parts.netns("c2"))
    parts.grant("other", "c2")
    parts.detacher.delete("c2", "eth0", str(parts.netns("c2")))
    parts.finish()
    assert [container for container, _ in parts.datapath.ended] == ["c2"]
