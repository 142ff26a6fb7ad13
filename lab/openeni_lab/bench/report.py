"""Render the benchmark's results as docs/benchmarks.md. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

HEAD: Final = """# Benchmarks

Written by `make bench`; every figure here is of one run, on a machine of two cores that runs a
whole cloud beside it, so only the ratios mean anything. ADD and DEL are as the container runtime
sees them, from the execution of the plugin to its exit; openeni and the reference take turns on the
same kernel. The references are the CNI project's own plugins with `host-local`.

A warm ADD: the ENI is there, its addresses are free. Ratio: openeni's median by the reference's,
smaller is better.
"""
COLUMNS: Final = (
    "datapath", "reference", "kernel", "", "ADD p50", "p90", "reference p50", "ratio",
    "DEL p50", "reference p50", "ratio",
)  # fmt: skip
PHASES: Final = """Medians, milliseconds and share of what the runtime sees. `executable` is all
that is outside the agent: fork, exec, connect, exit.
"""


@dataclass(frozen=True)
class Measured:
    """The results of one race: calls by way (`single`, `burst`) and plugin, the agent's phases."""

    pool: str
    reference: str
    kernel: str
    calls: Mapping[str, Mapping[str, Sequence[Json]]]
    phases: Mapping[str, Sequence[Mapping[str, float]]]


def page(measured: Sequence[Measured], single: int, burst: int) -> str:
    """Return the whole page."""
    lines = [
        HEAD,
        f"One at a time ({single} lives), and in bursts of {burst}; milliseconds.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *(row(one, way) for one in measured for way in ("single", "burst")),
        "",
        "## Where an ADD's time goes",
        "",
        PHASES,
        *(line for one in measured for line in phase_table(one)),
    ]
    return "\n".join(lines)


def row(one: Measured, way: str) -> str:
    """Return one line of the first table."""
    ours, theirs = one.calls[way]["openeni"], one.calls[way]["reference"]
    add, add_reference = _times(ours, "ADD"), _times(theirs, "ADD")
    delete, delete_reference = _times(ours, "DEL"), _times(theirs, "DEL")
    cells = [
        one.pool,
        f"{one.reference} + host-local",
        one.kernel,
        {"single": "one at a time", "burst": "bursts"}[way],
        _ms(statistics.median(add)),
        _ms(add[int(0.9 * (len(add) - 1))]),
        _ms(statistics.median(add_reference)),
        f"**{statistics.median(add) / statistics.median(add_reference):.2f}**",
        _ms(statistics.median(delete)),
        _ms(statistics.median(delete_reference)),
        f"**{statistics.median(delete) / statistics.median(delete_reference):.2f}**",
    ]
    return f"| {' | '.join(cells)} |"


def phase_table(one: Measured) -> list[str]:
    """Return the table with the median of each phase of the ADDs one at a time."""
    seen = _times(one.calls["single"]["openeni"], "ADD")
    whole = statistics.median(seen)
    # The agent's last records are of this race: the ADDs one at a time, then those in bursts.
    bursts = len(_times(one.calls["burst"]["openeni"], "ADD"))
    last = one.phases["ADD"][-(len(seen) + bursts) :]
    records = last[: len(seen)]
    names = [name for name in records[0] if name != "total"]
    inside = {name: statistics.median(r.get(name, 0.0) for r in records) for name in names}
    total = statistics.median(r["total"] for r in records)
    shown = {"executable": max(0.0, whole - total), **inside}
    cells = [f"{_ms(seconds)} ({seconds / whole:.0%})" for seconds in shown.values()]
    return [
        f"| {one.pool} | {' | '.join(shown)} |",
        f"|---|{'---|' * len(shown)}",
        f"| {_ms(whole)} | {' | '.join(cells)} |",
        "",
    ]


def _times(calls: Sequence[Json], command: str) -> list[float]:
    return sorted(float(c["seconds"]) for c in calls if c["command"] == command)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"
