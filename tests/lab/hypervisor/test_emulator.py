import os
from dataclasses import replace
from pathlib import Path

import pytest

from openeni_lab.hypervisor.emulator import PROGRAM, EmulatedKernel
from openeni_lab.hypervisor.uml import GuestBootError
from openeni_testing.lab.recording import executable


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmulatedKernel:
    """An emulated kernel, with a program in the place of the emulator."""
    stub = executable(tmp_path / "bin" / PROGRAM, "#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")
    return EmulatedKernel(Path("/vm"), Path("/vmlinuz"), Path("/initrd"), messages=7)


def test_it_counts_instructions_and_shows_the_machines_files_read_only(
    guest: EmulatedKernel,
) -> None:
    argv = guest.argv
    assert argv[argv.index("-icount") + 1].startswith("shift=0,")
    (machine,) = (word for word in argv if word.startswith("local,"))
    assert "path=/," in machine
    assert machine.endswith(",readonly=on")


def test_one_folder_is_shared_whatever_its_name(guest: EmulatedKernel) -> None:
    argv = replace(guest, shared=Path("/a,b")).argv
    _, shared = (word for word in argv if word.startswith("local,"))
    assert "path=/a,,b," in shared
    assert "readonly" not in shared
    assert argv[argv.index("-append") + 1].endswith(" /vm run /a,b")


def test_a_path_that_does_not_fit_on_its_command_line_is_refused(guest: EmulatedKernel) -> None:
    with pytest.raises(GuestBootError, match="path without blanks"):
        _ = replace(guest, shared=Path("/two words")).argv


def test_without_the_emulator_it_says_what_to_install(
    guest: EmulatedKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GuestBootError, match="apt-get install qemu-system-x86"):
        _ = guest.argv
