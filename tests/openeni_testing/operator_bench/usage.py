"""Read what processes use from /proc: see proc_pid_stat(5) and proc_pid_status(5)."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")  # per second
_UTIME, _STIME = 11, 12  # fields after the command's closing parenthesis


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the seconds that these processes have had of a processor; 0 for one that is gone."""
    return sum(map(_cpu_seconds, pids))


def peak_mebibytes(pid: int) -> float:
    """Return the process's peak resident set size."""
    for line in (_PROC / str(pid) / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no memory any more")


def processes_naming(folder: Path) -> list[int]:
    """Return the processes with the folder's path in their command line, this one left out."""
    found: list[int] = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if os.fsencode(folder) in words:
            found.append(int(entry.name))
    return found


def _cpu_seconds(pid: int) -> float:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS
