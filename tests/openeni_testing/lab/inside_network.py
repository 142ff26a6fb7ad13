"""Move the test's thread into a lab's network, to use a client library there."""

import ctypes
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from openeni_lab.machine.client import Machine

NEW_NETWORK: Final = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def network_of(machine: Machine) -> Generator[None]:
    """Create sockets in the lab's network namespace during the block."""
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    inside = os.open(f"/proc/{machine.pid()}/ns/net", os.O_RDONLY)
    try:
        _enter(inside)
        yield
    finally:
        _enter(outside)
        os.close(inside)
        os.close(outside)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
