"""The machine's mounts that a namespace node gets, and those that it never accesses."""

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from openeni_lab.machine.isolation import mount_points, shown_places

TABLE = r"""
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /mnt/Bücher rw - ext4 /dev/vdb rw
24 22 0:22 / /mnt/two\040words\134\011 rw shared:2 master:1 - xfs /dev/vdc rw
""".strip().encode()


def test_a_mounts_path_is_octal_for_blanks_and_utf_8_for_the_rest() -> None:
    assert mount_points(TABLE) == [
        ("/", "ext4"),
        ("/mnt/Bücher", "ext4"),
        ("/mnt/two words\\\t", "xfs"),
    ]


SHARED = (Path("/home/me/openeni"), Path("/home/me/.cache/openeni-lab"))


@pytest.mark.parametrize(
    ("mounts", "shown"),
    [
        ([], []),
        # What a node needs not: disks, other people's, a container's layers.
        (["/mnt/disk ext4", "/home xfs", "/var ext4", "/var/lib/docker/overlay2/x overlay"], []),
        # System folders on mounts of their own, and what is mounted in them.
        (["/usr ext4", "/usr/local ext4"], ["/usr", "/usr/local"]),
        (["/etc/resolv.conf ext4"], ["/etc/resolv.conf"]),
        # Below what is shared, too, but nothing whose server may be dead.
        (["/home/me/openeni/disk ext4"], ["/home/me/openeni/disk"]),
        (["/home/me/openeni/far nfs4", "/home/me/openeni/my fuse.sshfs"], []),
        # Shared folders that lie on such a server are shown all the same.
        (["/home/me nfs4"], []),
        (["/home/me/openeni 9p"], []),
    ],
)
def test_a_node_is_shown_what_it_needs(mounts: list[str], shown: list[str]) -> None:
    table = [("/", "ext4"), *((path, kind) for path, kind in map(str.split, mounts))]
    assert shown_places(table, SHARED) == sorted([*SHARED, *map(Path, shown)])


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder whose path is short enough for the sockets of the labs in it."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


def in_a_machine_of_its_own(script: str, folder: Path) -> str:
    """Run Python in mount namespaces like a machine's whose mounts are shared."""
    preamble = f"""
        from pathlib import Path
        from openeni_lab.machine import isolation
        from openeni_lab.machine.enclosure import init_command, init_environment
        from openeni_lab.layout import Layout
        from openeni_lab.machine.client import Machine
        from openeni_lab.node.machines import shared_folders
        from openeni_testing.lab import bare_lab
        from openeni_testing.waiting import wait_for
        folder = Path({str(folder)!r})
    """
    text = textwrap.dedent(preamble) + textwrap.dedent(script)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "shared", sys.executable, "-c", text],
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    return done.stdout.strip()


@pytest.mark.root
def test_what_is_unmounted_on_the_machine_is_unmounted_in_the_lab(folder: Path) -> None:
    script = """
        disk = folder / "disk"
        disk.mkdir()
        isolation.mount("disk", disk, "tmpfs")
        (disk / "file").touch()
        with bare_lab.bare_lab(folder / "labs", "mounts") as (_, machine):
            print(machine.check(["ls", str(disk)]))
            isolation.unmount(disk)
            print(machine.check(["ls", str(disk)]))
    """
    assert in_a_machine_of_its_own(script, folder) == "file"


@pytest.mark.root
def test_a_node_starts_beside_any_mount_and_holds_none(folder: Path) -> None:
    """The machine could not unmount such a disk, and a hanging server would block the node."""
    script = """
        disk = folder / "B\u00fccher und mehr"
        disk.mkdir()
        isolation.mount("disk", disk, "tmpfs")
        with bare_lab.bare_lab(folder / "labs", "disk") as (lab, machine):
            own = lab.node_folder("n1")
            own.mkdir(parents=True)
            command = init_command(
                f"--control={own}/init.sock", f"--cgroup={lab.cgroup}/n1", "--hostname=n1",
                f"--root={own}", *(f"--shared={place}" for place in shared_folders()))
            machine.start("n1", command, env=init_environment(), log=lab.logs / "n1.log")
            node = Machine(own / "init.sock")
            wait_for(node.alive, "the node")
            mounts = isolation.mount_points(node.run(["cat", "/proc/self/mountinfo"]).out)
            assert ("/", "overlay") in mounts
            print([path for path, _ in mounts if path.startswith(str(disk))])
    """
    assert in_a_machine_of_its_own(script, folder) == "[]"
