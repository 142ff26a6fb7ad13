"""The guard of an init: it waits outside the init's namespaces, and ends them with their owner.

Standard library only, for `init`.
"""

import os
import select
import signal

from openeni_lab.machine import isolation


def guard(init: int, owner: int | None, cgroup: str) -> int:
    """Wait for the init and return its exit code; pass signals on to it.

    `owner` is a descriptor of the process that owns the machine (pidfd_open(2)): when that ends, in
    whatever way, the machine ends at once, and its cgroup is removed.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: os.kill(init, number))
    orphaned = owner is not None and _ends_first(owner, os.pidfd_open(init))
    if orphaned:
        os.kill(init, signal.SIGKILL)
    code = abs(os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]))
    if orphaned:
        isolation.remove_cgroups(cgroup)
    return code


def _ends_first(one: int, other: int) -> bool:
    """Wait for the end of one of two processes; return True if the first has ended."""
    ends = select.poll()
    for process in (one, other):
        ends.register(process, select.POLLIN)
    return one in dict(ends.poll())
