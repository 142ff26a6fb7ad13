"""Files and folders that somebody takes away from a running agent: put back, or an error."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openeni_nodeagent.grants.grant import Attachment
from openeni_nodeagent.grants.journal import (
    Granted,
    GrantEnded,
    Journal,
    JournalError,
    JournalRecord,
    read,
)
from openeni_testing.agent import node_objects


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
    assert f"{where}): move it back, or delete the agent's pod" in said


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
