"""Kernel settings of a machine, written without the program `sysctl`.

Its Debian package brings a service that is enabled at boot.
"""

from typing import Final

_WRITE: Final = """\
for setting; do
    file=/proc/sys/$(echo "${setting%%=*}" | tr . /)
    echo "${setting#*=}" > "$file" || exit
done"""


def set_command(*settings: str) -> list[str]:
    """Return the command that sets `net.ipv4.ip_forward=1` and the like, where it is run."""
    return ["sh", "-c", _WRITE, "sh", *settings]
