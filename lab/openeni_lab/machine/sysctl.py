"""Set sysctls of a machine without the program `sysctl`.

Its Debian package (procps) enables a service at boot.
"""

from typing import Final

_WRITE: Final = """\
for setting; do
    file=/proc/sys/$(echo "${setting%%=*}" | tr . /)
    echo "${setting#*=}" > "$file" || exit
done"""


def set_command(*settings: str) -> list[str]:
    """Return a command that sets sysctls (`net.ipv4.ip_forward=1`) on the machine it runs on."""
    return ["sh", "-c", _WRITE, "sh", *settings]
