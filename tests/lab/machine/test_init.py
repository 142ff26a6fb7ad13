"""The lab's enclosure is isolated, outlives its starter, ends as a whole and leaves nothing."""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure, isolation
from openeni_lab.machine.client import Machine
from openeni_lab.machine.enclosure import LabError
from openeni_testing.lab import bare_lab
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root


@pytest.fixture
def lab(tmp_path: Path) -> Generator[Layout]:
    made = Layout(f"init-{os.getpid()}", root=tmp_path / "labs")
    yield made
    bare_lab.remove(made)
    assert enclosure.leftovers(made) == []
    assert not made.root.exists()


@pytest.fixture
def machine(lab: Layout) -> Machine:
    return bare_lab.start(lab)


def test_everything_in_it_is_its_own(machine: Machine) -> None:
    for kind in ("net", "mnt", "pid", "uts", "ipc"):
        here = str(Path(f"/proc/self/ns/{kind}").readlink())
        assert machine.check(["readlink", f"/proc/self/ns/{kind}"]) != here
    assert machine.check(["cat", "/proc/1/comm"]).startswith("python")
    assert machine.check(["ls", "-A", "/run"]) == "netns"
    assert machine.check(["hostname"]) == "openeni-lab"
    assert machine.check(["ls", "/sys/class/net"]) == "lo"


def test_mounts_made_in_it_are_not_seen_outside(machine: Machine, tmp_path: Path) -> None:
    machine.check(["mount", "-t", "tmpfs", "inside", str(tmp_path)])
    assert not [point for point, _ in isolation.mount_points() if point == str(tmp_path)]


def test_shared_memory_ends_with_it(lab: Layout, machine: Machine) -> None:
    """A guest that is killed at its start leaves its memory file in /dev/shm."""
    file = Path("/dev/shm") / lab.name  # noqa: S108 - where guests' memory is
    machine.check(["touch", str(file)])
    assert machine.check(["ls", str(file.parent)]) == lab.name
    assert not file.exists()


def test_temporary_files_are_in_the_labs_folder(lab: Layout, machine: Machine) -> None:
    assert machine.check(["mktemp"]).startswith(str(lab.state))


def test_only_the_owner_can_speak_to_it(lab: Layout, machine: Machine) -> None:
    assert machine.alive()
    assert lab.control.stat().st_mode & 0o077 == 0
    assert lab.state.stat().st_mode & 0o077 == 0


def test_the_machines_loopback_reaches_the_api_servers_port_inside(
    machine: Machine, tmp_path: Path
) -> None:
    echo = ["socat", "TCP-LISTEN:6443,bind=127.0.0.1,fork,reuseaddr", "EXEC:cat"]
    port = machine.about()["forwarder"]

    def answered() -> bytes:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                connection.sendall(b"hello")
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(100)
        return b""

    assert answered() == b""  # nobody listens inside yet
    machine.start("echo", echo, log=tmp_path / "log")
    wait_for(lambda: answered() == b"hello", "the echo")


def test_it_outlives_its_starter(lab: Layout) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from openeni_lab.layout import Layout; from openeni_testing.lab import bare_lab\n"
        f"bare_lab.start(Layout({lab.name!r}, root=Path({str(lab.root)!r})))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = ":".join(sys.path)
    starter = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert starter.returncode == -signal.SIGKILL
    assert Machine(lab.control).alive()


def test_with_an_owner_it_ends_as_a_whole_when_its_owner_does(
    lab: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sleep", "300"]) as owner:
        monkeypatch.setenv(enclosure.OWNER, str(owner.pid))
        machine = bare_lab.start(lab)
        machine.start("sleeper", ["setsid", "sleep", "4713"], log=tmp_path / "log")
        assert enclosure.processes(lab)
        owner.kill()
    left = [f"folder {lab.state}"]
    wait_for(lambda: enclosure.leftovers(lab) == left, "the end of everything else", 20)


def test_with_an_owner_that_has_ended_it_does_not_start(
    lab: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["true"]) as owner:
        owner.wait(20)
    monkeypatch.setenv(enclosure.OWNER, str(owner.pid))
    with pytest.raises(LabError, match=r"init did not start: .*No such process"):
        bare_lab.start(lab)


def test_every_lab_of_a_test_belongs_to_the_process_of_the_test(machine: Machine) -> None:
    guard = int(Path(f"/proc/{machine.pid()}/stat").read_text().rpartition(")")[2].split()[1])
    words = Path(f"/proc/{guard}/cmdline").read_text().split("\0")
    assert f"--owner={os.getpid()}" in words


def test_when_it_is_killed_everything_in_it_ends(
    lab: Layout, machine: Machine, tmp_path: Path
) -> None:
    machine.start("sleeper", ["setsid", "sleep", "4712"], log=tmp_path / "log")
    assert enclosure.processes(lab)
    os.kill(machine.pid(), signal.SIGKILL)
    wait_for(lambda: not enclosure.processes(lab), "the end of everything")
    assert not machine.alive()
    bare_lab.start(lab)  # a new one in the same place
    assert Machine(lab.control).list() == {}


def test_down_waits_for_an_init_that_is_still_starting(lab: Layout) -> None:
    """Nothing could find an init whose starter was killed before the init joined its cgroup."""
    with enclosure.locked(lab) as lock:
        lab.state.mkdir()
        (lab.state / "tmp").mkdir()
        command = enclosure.init_command(
            f"--control={lab.control}", f"--cgroup={lab.cgroup}/lab", f"--lock={lock}"
        )
        child = subprocess.Popen(
            command,
            env={**os.environ, **enclosure.init_environment()},
            pass_fds=[lock],
            start_new_session=True,
        )
    bare_lab.remove(lab)
    assert child.wait(30) in {0, 9}
    assert enclosure.leftovers(lab) == []


def test_a_second_one_at_work_is_named(lab: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclosure, "BUSY_SECONDS", 0.2)
    with (
        enclosure.locked(lab),
        pytest.raises(LabError, match=f"another openeni-lab command works on the lab '{lab.name}'"),
        enclosure.locked(lab),
    ):
        pytest.fail("both are at work")


def test_the_lock_of_a_removed_lab_is_not_the_locks_of_the_next(
    lab: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process opened the lock's file before its owner removed it with the lab."""
    monkeypatch.setattr(enclosure, "BUSY_SECONDS", 0.3)
    real = fcntl.flock
    removals = [True]

    def removed_meanwhile(file: int, operation: int) -> None:
        if removals and removals.pop():
            (lab.root / f".{lab.name}.lock").unlink()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    with (
        enclosure.locked(lab),
        pytest.raises(LabError, match="another openeni-lab command works on the lab"),
        enclosure.locked(lab),
    ):
        pytest.fail("both are at work")


def test_an_init_that_never_answers_is_ended_and_named(
    lab: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enclosure, "INIT_SECONDS", 1.0)

    def hangs(*_flags: str) -> list[str]:
        return ["sh", "-c", "echo $$; echo stuck; exec sleep 1000"]

    monkeypatch.setattr(enclosure, "init_command", hangs)
    with pytest.raises(LabError, match=r"init did not answer within 1 s: stuck \(.*init.log"):
        bare_lab.start(lab)
    pid = (lab.logs / "init.log").read_text().split()[0]
    assert not Path(f"/proc/{pid}").exists()


def test_a_lab_of_this_boot_is_kept(lab: Layout, machine: Machine) -> None:
    assert not enclosure.discard_earlier(lab)
    assert machine.alive()


def test_what_an_earlier_boot_left_is_removed(
    lab: Layout, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut leaves the files but no processes."""
    os.kill(machine.pid(), signal.SIGKILL)
    wait_for(lambda: not enclosure.processes(lab), "the end of everything")
    monkeypatch.setattr(enclosure, "boot_id", lambda: "another")
    assert enclosure.discard_earlier(lab)
    assert not lab.state.exists()
    assert not enclosure.discard_earlier(lab)


def test_a_half_removed_lab_is_removed_whole(
    lab: Layout, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed `down` leaves some files, which no step may take for those of a lab."""

    def killed(_path: Path, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            bare_lab.remove(lab)
    assert lab.logs.exists()
    assert enclosure.discard_earlier(lab)
    assert not lab.state.exists()


def test_shutdown_is_in_reverse_order_and_quick(
    lab: Layout, machine: Machine, tmp_path: Path
) -> None:
    order = tmp_path / "order"
    for name in ("first", "second"):
        script = f"trap 'echo {name} >> {order}; exit 0' TERM; echo up; while :; do sleep 0.1; done"
        machine.start(name, ["sh", "-c", script], log=tmp_path / name)
        wait_for((tmp_path / name).read_text, "its start")
    begun = time.monotonic()
    bare_lab.remove(lab)
    assert order.read_text() == "second\nfirst\n"
    assert time.monotonic() - begun < 10
