"""The layouts of tests' labs.

The machine knows a lab's processes by its cgroup, which is found by the lab's name alone. Two labs
of one name would be removed together, wherever their folders are.
"""

import itertools
import os
from pathlib import Path
from typing import Final

from openeni_lab.layout import Layout

_LONGEST_SOCKET: Final = 107  # sockaddr_un has 108 bytes with the final NUL
_NUMBERS: Final = itertools.count(1)


def own_layout(root: Path, prefix: str) -> Layout:
    """Return the layout of a lab whose name no other running process and no other call gets.

    Raises ValueError if `root` is too long a path for the lab's socket.
    """
    layout = Layout(f"{prefix}-{os.getpid()}-{next(_NUMBERS)}", root=root)
    if len(os.fsencode(layout.control)) > _LONGEST_SOCKET:
        raise ValueError(f"too long a path for a socket: {layout.control}")
    return layout
