"""Guards are written where the node's programs read them: folders of the host may be moved."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from openeni_nodeagent.enis import nic_guards
from openeni_nodeagent.enis.nic_guards import NICGuards, known_guards
from openeni_nodeagent.files import MountedFolders

NAMES = ("nm", "networkd", "networkd.conf.d", "udev")
MOVED = """
import shutil, subprocess, sys
from pathlib import Path
from openeni_nodeagent.enis.nic_guards import GuardError, NICGuards, known_guards
base, how, which = Path(sys.argv[1]), *sys.argv[2:4]
host, folders = base / "there", [base / name for name in sys.argv[4:]]
for folder in (host, *folders):
    folder.mkdir()
subprocess.run(["mount", "--bind", host, base / which], check=True)
guards = NICGuards(known_guards(*folders), lambda _: None)
guards.prepare("fa:16:3e:00:00:01")
if how == "move":
    host.rename(base / "there.bak")
else:
    shutil.rmtree(host)
host.mkdir()
try:
    guards.prepare("fa:16:3e:00:00:02")
except GuardError as error:
    print(error)
print(*(folder.name for folder in folders if [*folder.glob("*fa163e000002*")]))
"""


@pytest.mark.root
@pytest.mark.parametrize(("how", "where"), [("move", "there.bak"), ("remove", "there//deleted")])
@pytest.mark.parametrize("folder", NAMES)
def test_a_folder_that_was_moved_on_the_node_is_an_error_and_others_have_their_guards(
    tmp_path: Path, folder: str, how: str, where: str
) -> None:
    """The mount that the agent has of it moves along, and the program reads another one."""
    argv = ["unshare", "-m", sys.executable, "-c", MOVED, str(tmp_path), how, folder, *NAMES]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.startswith(f"{tmp_path / folder} was moved or removed on the node")
    assert f"{where}): move it back; only if it is gone for good, delete" in said
    others = {"nm", "networkd", "udev"} - {folder}
    assert others <= set(said.splitlines()[-1].split())


def test_enis_that_are_looked_at_together_have_the_mounts_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new ENI has them read anew: its NIC is attached after that."""
    read: list[int] = []

    def problem(_: MountedFolders) -> str:
        read.append(1)
        return ""

    now, folders = [100.0], [tmp_path / name for name in NAMES]
    for folder in folders:
        folder.mkdir()
    guards = NICGuards(known_guards(*folders), lambda _: None)
    monkeypatch.setattr(MountedFolders, "problem", problem)
    monkeypatch.setattr(nic_guards, "time", SimpleNamespace(monotonic=lambda: now[0]))
    macs = [f"fa:16:3e:00:00:{n:02x}" for n in range(8)]
    for times, now[0] in ((8, 100.0), (8, 109.0), (9, 111.0)):
        for mac in macs:
            guards.prepare(mac)
        assert len(read) == times
