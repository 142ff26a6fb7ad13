"""A kernel in an emulator that counts instructions: each takes one nanosecond of the guest's time.

So what a clock in the guest measures is a number of instructions, the same whatever else the
machine does. Like a user-mode kernel, it runs a command on the machine's own files (guest_init.sh).
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.hypervisor.uml import INIT, GuestBootError, refuse_blanks, write_command

PROGRAM: Final = "qemu-system-x86_64"
PACKAGE: Final = "qemu-system-x86"
# While the guest sleeps its clock goes on with the machine's. With `sleep=off` it jumps to the next
# timer: the guest's time limits expire while the machine still reads a file for it.
_COUNT: Final = "shift=0,align=off,sleep=on"


@dataclass(frozen=True)
class EmulatedKernel:
    """One emulated kernel, which runs a command and powers off.

    All that the command writes is the emulator's output. `messages` is the descriptor of a pipe for
    those of guest_init.sh and the kernel. `shared` is a folder that the command may write.
    """

    folder: Path  # for its command
    kernel: Path
    initrd: Path
    messages: int
    memory_mib: int = 2048
    shared: Path | None = None

    @property
    def argv(self) -> list[str]:
        """Return the command that boots it.

        Raises GuestBootError without the emulator, or if a path does not fit on its command line.
        """
        program = shutil.which(PROGRAM)
        if program is None:
            raise GuestBootError(f"{PROGRAM} is missing: as root, apt-get install {PACKAGE}")
        shared = [str(self.shared)] if self.shared else []
        words = ["quiet", "panic=-1", "console=ttyS1", "emulated=yes", "--"]
        words += [str(INIT), str(self.folder), "run", *shared]
        refuse_blanks(words)
        return [
            *(program, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1"),
            *("-icount", _COUNT, "-m", f"{self.memory_mib}M"),
            *("-kernel", str(self.kernel), "-initrd", str(self.initrd)),
            *("-append", " ".join(words)),
            *_folder("machine", Path("/"), ",readonly=on"),
            *(_folder("shared", self.shared) if self.shared else ()),
            *("-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output"),
            *("-chardev", f"file,id=messages,path=/dev/fd/{self.messages}"),
            *("-serial", "chardev:messages"),
        ]

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment of the emulator."""
        return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}

    def prepare(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Write the guest's command."""
        write_command(self.folder, argv, env, cwd)


def _folder(tag: str, path: Path, more: str = "") -> list[str]:
    """Return the words for a folder of the machine, with all that is mounted in it."""
    shown = str(path).replace(",", ",,")
    words = f"local,id={tag},path={shown},security_model=none,multidevs=remap{more}"
    return ["-fsdev", words, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
