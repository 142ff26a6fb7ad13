"""The machine's boot id: what belongs to an earlier boot is recognised by it."""

from pathlib import Path
from typing import Final

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")  # proc_sys_kernel(5)


def boot_id() -> str:
    """Return the id that the kernel has chosen for this boot."""
    return BOOT_ID.read_text().strip()
