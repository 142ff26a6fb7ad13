"""Files and folders that somebody takes away from a running agent: put back, or an error."""

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path

import pytest

from openeni_nodeagent.attachments.pod_events import PodEvents
from openeni_nodeagent.grants.grant import Attachment
from openeni_nodeagent.grants.journal import (
    Granted,
    GrantEnded,
    Journal,
    JournalError,
    JournalRecord,
    read,
)
from openeni_nodeagent.periodic_tasks import JOURNAL, PeriodicTasks
from openeni_testing.agent import node_objects
from openeni_testing.agent.parts import AgentParts
from openeni_testing.controller.recorded_events import RecordedEvents
from openeni_testing.open_files import no_more_files


def granted(container: str) -> Granted:
    attachment = Attachment(f"uid-{container}", container, "eth0")
    return Granted(node_objects.granted(attachment, f"10.98.0.{ord(container)}"))


HISTORY: tuple[JournalRecord, ...] = (
    granted("a"),
    granted("b"),
    GrantEnded("a", "eth0", {"10.98.0.97": 99.25}),
)


def journal(folder: Path) -> Journal:
    return Journal(folder / "journal", "boot")


def removed(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path) -> None:
    path.with_name("copy").write_bytes(path.read_bytes())
    path.with_name("copy").rename(path)


def with_its_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.mkdir()


@pytest.mark.parametrize("damage", [removed, emptied, replaced, with_its_folder])
def test_a_file_that_somebody_takes_away_is_written_anew_with_the_next_record(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    (tmp_path / "run").mkdir()
    of = journal(tmp_path / "run")
    of.append(*HISTORY[:-1])
    damage(tmp_path / "run" / "journal")
    of.append(HISTORY[-1])
    found = read(tmp_path / "run" / "journal")
    assert found.grants == of.state.grants
    assert found.cooling_until == {"10.98.0.97": 99.25}
    assert found.damaged == 0


@pytest.mark.parametrize("when", ["compacted", "closed"])
def test_a_file_that_somebody_takes_away_is_back_without_another_record(
    tmp_path: Path, when: str
) -> None:
    of = journal(tmp_path)
    of.append(*HISTORY)
    removed(tmp_path / "journal")
    if when == "compacted":
        of.compact(of.state.cooling_until)
    else:
        of.close()
    assert read(tmp_path / "journal").cooling_until == {"10.98.0.97": 99.25}


def test_a_closed_journal_leaves_the_next_processs_file_alone(tmp_path: Path) -> None:
    of = journal(tmp_path)
    of.append(*HISTORY)
    of.close()
    following = journal(tmp_path)
    following.append(granted("c"))
    of.compact({})
    of.close()
    with pytest.raises(JournalError):
        of.append(granted("d"))
    assert read(tmp_path / "journal").grants.keys() == following.state.grants.keys()


@contextmanager
def no_file_longer_than(size: int) -> Generator[None]:
    """Let the kernel refuse writes, or the end of one: EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def damage(path: Path, chance: random.Random) -> None:
    """Remove the file, cut it, or write into it."""
    match chance.choice(["remove", "cut", "lengthen"]):
        case "remove":
            path.unlink(missing_ok=True)
        case "cut" if path.exists():
            os.truncate(path, chance.randrange(path.stat().st_size + 1))
        case "lengthen" if path.exists():
            with path.open("ab") as file:
                file.write(b"others\n" * 1000)
        case _:
            pass


@pytest.mark.parametrize("seed", range(5))
def test_each_record_that_is_accepted_is_in_a_file_with_all_others(
    tmp_path: Path, seed: int
) -> None:
    """Whatever others have done to the file, and the kernel has refused before."""
    chance = random.Random(seed)  # noqa: S311 - the same steps each time
    of = journal(tmp_path)
    for _ in range(300):
        if chance.random() < 0.4:
            damage(tmp_path / "journal", chance)
        limit = partial(no_file_longer_than, chance.randrange(2000))
        refusals: list[Callable[[], AbstractContextManager[None]]]
        refusals = [nullcontext, no_more_files, limit]
        refusal = chance.choice(refusals)
        if chance.random() < 0.2:
            with suppress(OSError), refusal():
                of.compact(of.state.cooling_until)
        container = chance.choice("abcdef")
        ended = GrantEnded(container, "eth0", {f"10.98.0.{ord(container)}": chance.random()})
        records: list[JournalRecord] = [granted(container), ended]
        try:
            with refusal():
                of.append(chance.choice(records))
        except JournalError:
            assert refusal is not nullcontext
        else:
            found = read(tmp_path / "journal")
            assert found.grants == of.state.grants
            assert found.cooling_until == of.state.cooling_until


def test_a_file_that_is_written_anew_is_logged_once_after_all_locks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever reads the log may be slow."""
    parts = AgentParts(tmp_path)
    parts.create_objects(count=1)
    parts.look()
    events = PodEvents(RecordedEvents(), parts.caches, parts.grants)
    tasks = PeriodicTasks(parts.grants, parts.detacher, tmp_path / "queue", events)
    removed(tmp_path / "journal")
    parts.grant("web", "c")
    assert caplog.text == ""
    for _ in range(2):
        tasks.run(JOURNAL)
    assert caplog.text.count("somebody removed or changed the journal") == 1


NOEXEC = """
import sys
from pathlib import Path
from openeni_nodeagent.cni.install import HostFiles, InstallError
base = Path(sys.argv[1])
try:
    HostFiles(Path(sys.executable), base / "bin", base / "conf", base / "served").install()
except InstallError as error:
    print(error)
"""
MOVED = """
import shutil, subprocess, sys
from pathlib import Path
from openeni_nodeagent.cni.install import HostFiles, InstallError
base, how, which = Path(sys.argv[1]), *sys.argv[2:]
host, mounted = base / "there", base / "mounted"
folders = {name: base / name for name in ("bin", "conf", "run")} | {which: mounted}
for folder in (host, *folders.values()):
    folder.mkdir()
subprocess.run(["mount", "--bind", host, mounted], check=True)
files = HostFiles(
    Path(sys.executable), folders["bin"], folders["conf"], folders["run"] / "served"
)
files.install()
files.mark()
if how == "move":
    host.rename(base / "there.bak")
else:
    shutil.rmtree(host)
host.mkdir()
try:
    files.install()
except InstallError as error:
    print(error)
"""


@pytest.mark.root
@pytest.mark.parametrize("which", ["bin", "conf", "run"])
@pytest.mark.parametrize(("how", "where"), [("move", "there.bak"), ("remove", "there//deleted")])
def test_a_folder_that_was_moved_on_the_node_is_an_error(
    tmp_path: Path, how: str, where: str, which: str
) -> None:
    """The mount that the agent has of it moves along, and its runtime has another one."""
    argv = ["unshare", "-m", sys.executable, "-c", MOVED, str(tmp_path), how, which]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.startswith(f"{tmp_path / 'mounted'} was moved or removed on the node")
    assert f"{where}): move it back; only if it is gone for good, delete" in said


@pytest.mark.root
def test_a_folder_in_which_nothing_can_be_executed_is_an_error(tmp_path: Path) -> None:
    """Hardened nodes have such mounts (CIS Benchmarks): the runtime says `permission denied`."""
    noexec = "mount -t tmpfs -o noexec none $0/bin && exec "
    script = f'mkdir $0/bin $0/conf && {noexec} "$@"'
    argv = [sys.executable, "-c", NOEXEC, str(tmp_path)]
    command = ["unshare", "-m", "sh", "-c", script, str(tmp_path), *argv]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.startswith(f"nothing in {tmp_path / 'bin'} can be executed: it is mounted noexec")
    assert list((tmp_path / "conf").iterdir()) == []
