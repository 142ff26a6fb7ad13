import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from openeni_lab.hypervisor.uml import ConsoleError, GuestBootError, GuestKernel, console
from openeni_lab.machine.isolation import ending_with_caller
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import Built
from openeni_testing.waiting import wait_for

# The kernel may have to be built first, on a machine that may be slow.
pytestmark = [pytest.mark.root, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def built() -> Built:
    return prepared.read(["kernel"]).built


def running(marker: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if marker.encode() in path.read_bytes():
                return True
    return False


@pytest.fixture
def tap() -> Iterator[str]:
    name = f"oetap{os.getpid()}"[:15]
    subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], timeout=20, check=True)
    yield name
    subprocess.run(["ip", "link", "delete", name], timeout=20, check=True)


@pytest.fixture
def guest(built: Built, tmp_path: Path) -> Iterator[GuestKernel]:
    """A guest as VM nodes use it: its command is process 1, and it may write to one folder."""
    shared = tmp_path / "shared"
    shared.mkdir()
    guest = GuestKernel(
        folder=tmp_path / "vm",
        kernel=built.kernel,
        preload=built.kernel_preload,
        memory_mib=256,
        shared=shared,
    )
    script = (
        f"echo $$ > {shared}/up; "
        f"while :; do ip -o link > {shared}/new; mv {shared}/new {shared}/links; sleep 0.1; done"
    )
    guest.prepare(["sh", "-c", script], {}, Path("/"))
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*ending_with_caller(), *guest.argv],
            env=guest.environment,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        ) as process,
    ):
        wait_for((shared / "links").exists, "the guest to boot", 120)
        yield guest
        process.kill()


def test_a_nodes_guest_runs_its_command_as_process_1_and_shares_one_folder(
    guest: GuestKernel,
) -> None:
    assert guest.shared
    assert (guest.shared / "up").read_text() == "1\n"


def test_a_nic_is_plugged_and_unplugged_through_the_console(guest: GuestKernel, tap: str) -> None:
    assert guest.shared
    links = guest.shared / "links"
    nic = f"transport=tap,ifname={tap},depth=128,gro=1,mac=fa:16:3e:00:00:07,mtu=1442"
    assert console(guest.mconsole, f"config vec3:{nic}") == ""
    seen = wait_for(
        lambda: next((li for li in links.read_text().splitlines() if " vec3:" in li), ""),
        "the NIC in the guest",
    )
    assert "fa:16:3e:00:00:07" in seen
    assert "mtu 1442" in seen
    console(guest.mconsole, "remove vec3")
    wait_for(lambda: " vec3:" not in links.read_text(), "the NIC to be gone")


def test_a_nic_on_a_tap_that_is_not_there_is_refused_before_the_guest_is_asked(
    guest: GuestKernel,
) -> None:
    with pytest.raises(ConsoleError, match="no tap oenotap"):
        console(guest.mconsole, "config vec3:transport=tap,ifname=oenotap,depth=128")
    assert not Path("/sys/class/net/oenotap").exists()


def test_a_command_that_the_console_refuses_is_an_error_with_its_words(guest: GuestKernel) -> None:
    with pytest.raises(ConsoleError, match="remove vec9: "):
        console(guest.mconsole, "remove vec9")


def test_the_console_switches_a_guest_off_and_nothing_of_it_is_left(guest: GuestKernel) -> None:
    console(guest.mconsole, "halt")
    wait_for(lambda: not running(f"uml_dir={guest.folder}"), "its processes to be gone")
    with pytest.raises(OSError, match=r"No such file|refused"):
        console(guest.mconsole, "version")


def test_a_guest_that_cannot_be_booted_is_refused_in_one_line(built: Built) -> None:
    two_words = GuestKernel(Path("/two words"), built.kernel, built.kernel_preload)
    with pytest.raises(GuestBootError, match="path without blanks"):
        _ = two_words.argv
    long = GuestKernel(Path("/x" * 60), built.kernel, built.kernel_preload)
    with pytest.raises(GuestBootError, match="shorter path"):
        _ = long.argv
