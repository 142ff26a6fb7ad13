"""The boot id tells apart what belongs to this boot of the machine and what to an earlier one."""

from pathlib import Path
from typing import Final

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")  # proc_sys_kernel(5)


def boot_id() -> str:
    """Return the id that the kernel chose for this boot."""
    return BOOT_ID.read_text().strip()
