"""Render the benchmark's results as docs/benchmarks-operator.md. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from openeni_operator.cloud.budget import CallType
from openeni_testing.markdown import table
from openeni_testing.operator_bench.measured import TENTHS, Samples, Size, count_types
from openeni_testing.operator_bench.objects import (
    ADDRESSES_PER_ENI,
    CALL_SECONDS,
    ENIS_PER_NODE,
    PODIPS_PER_NODE,
)
from openeni_testing.operator_bench.operator_process import RATES
from openeni_testing.operator_bench.phases import EVENTS_PER_SECOND, Durations

HEAD: Final = """# Benchmarks of the operator

Written by `make bench-operator`: the operator's own process on a real kube-apiserver and etcd, with
simulated agents and a fake OpenStack. All of them share one machine, each size has a cluster of its
own. The time until all ENIs are Ready runs from the creation of the ENIPool. Its bounds: the calls
of one budget divided by the budget's rate, the largest counts; and what the others on the machine
(API server with etcd, cloud, agents) used of its processors in the same time, divided by their
number. A restart finds everything in place; it ends when `/readyz` does not fail any more.
"""
_NAMES: Final = {CallType.READ: "reads", CallType.WRITE: "writes", CallType.ATTACH: "attaches"}
CONDITIONS: Final = """\
- {cores} cores
- Each call to the cloud takes {call:.0f} ms. The operator's limits: {rates} a second.
- A node has {enis} ENIs with {addresses} addresses each, and {podips} PodIPs.
- CPU idle: {durations.idle:g} s, from {durations.steady:g} s after the start on: by then every ENI
  is in the resync, which takes {durations.resync:g} s.
- CPU at pod events: {durations.busy:g} s; {events:g} times a second a pod is created or deleted,
  and an agent reports other counts.
- After the restart a resync takes {durations.short_resync:g} s, and is measured whole.
"""
LINEAR: Final = 1.1  # an exponent that counts as linear: figures vary
TARGETS: Final = """\
Bold: over the target ({}).
A CPU share is of one core: the median of several samples, and the lowest and the highest.
"""
BUDGETS: Final = """\
The share of a budget that was used, in each tenth of the time until all are Ready. What one leaves
unused before its last call is lost; what is above 100 % is the burst.
"""
SCALING: Final = f"""\
The figure's factor, and e where it grows like nodes^e: 1 is linear. Bold: e is over {LINEAR:g}.
"""


@dataclass(frozen=True)
class Column:
    """A figure of each size; `target` is what it must stay at or below."""

    title: str
    value: Callable[[Size], float]
    shown: Callable[[Size], str]
    target: float | None = None


COLUMNS: Final = (
    Column("all Ready, s", lambda s: s.growth.seconds, lambda s: f"{s.growth.seconds:.1f}"),
    Column(
        "bound of the calls, s",
        lambda s: s.growth.bound(RATES),
        lambda s: f"{s.growth.bound(RATES):.1f}",
    ),
    Column(
        "time / bound of the calls",
        lambda s: s.growth.ratio(RATES),
        lambda s: f"{s.growth.ratio(RATES):.2f}",
        1.2,
    ),
    Column("peak RSS, MiB", lambda s: s.peak_mebibytes, lambda s: f"{s.peak_mebibytes:.0f}", 350),
    Column("CPU idle, %", lambda s: 100 * s.idle.median, lambda s: _percent(s.idle), 2),
    Column("CPU at pod events, %", lambda s: 100 * s.busy.median, lambda s: _percent(s.busy), 10),
    Column(
        "pod events, 1/s", lambda s: s.events_per_second, lambda s: f"{s.events_per_second:.0f}"
    ),
    Column("restart, s", lambda s: s.restart.seconds, lambda s: f"{s.restart.seconds:.1f}"),
    Column(
        "its changes in the cloud",
        lambda s: s.restart.cloud_writes,
        lambda s: str(s.restart.cloud_writes),
        0,
    ),
    Column(
        "calls of a resync",
        lambda s: sum(s.restart.resync_calls.values()),
        lambda s: str(sum(s.restart.resync_calls.values())),
    ),
    Column(
        "CPU of a resync, s",
        lambda s: s.restart.resync_cpu,
        lambda s: f"{s.restart.resync_cpu:.1f}",
    ),
)


def page(sizes: Sequence[Size], durations: Durations, cores: int) -> str:
    """Return the whole page."""
    targets = (f"{c.title}: at most {c.target:g}" for c in COLUMNS if c.target is not None)
    lines = [
        HEAD,
        _conditions(durations, cores),
        *table(("nodes", "ENIs", "PodIPs", *(c.title for c in COLUMNS)), [_row(s) for s in sizes]),
        "",
        TARGETS.format("; ".join(targets)),
        *_scaling(sizes),
        "## Calls to the cloud until all ENIs are Ready",
        "",
        *_calls(sizes),
        "",
        "## Budgets until all ENIs are Ready",
        "",
        BUDGETS,
        *_budgets(sizes),
        "",
        "## Reconciles",
        "",
        *_reconciles(sizes),
        "",
        "## Processors until all ENIs are Ready",
        "",
        *_processors(sizes, cores),
        "",
    ]
    return "\n".join(lines)


def exponent(before: float, after: float, factor: float) -> float | None:
    """Return e if the value has grown like size^e while the size grew by `factor`.

    None: one of the values is zero.
    """
    if before <= 0 or after <= 0:
        return None
    return math.log(after / before) / math.log(factor)


def _conditions(durations: Durations, cores: int) -> str:
    rates = (f"{rate:g} {_NAMES[type_]}" for type_, rate in RATES.items())
    return CONDITIONS.format(
        cores=cores,
        call=1000 * CALL_SECONDS,
        rates=", ".join(rates),
        enis=ENIS_PER_NODE,
        addresses=ADDRESSES_PER_ENI,
        podips=PODIPS_PER_NODE,
        events=EVENTS_PER_SECOND,
        durations=durations,
    )


def _row(size: Size) -> list[str]:
    counts = [f"{count:,}" for count in (size.nodes, size.enis, size.podips)]
    return counts + [_bold(c.shown(size), over=_is_over(c, size)) for c in COLUMNS]


def _is_over(column: Column, size: Size) -> bool:
    return column.target is not None and column.value(size) > column.target


def _scaling(sizes: Sequence[Size]) -> list[str]:
    """Return how each figure grows from one size to the next."""
    if len(sizes) < 2:
        return []
    steps = list(pairwise(sizes))
    titles = ("", *(f"{a.nodes:,} to {b.nodes:,} nodes" for a, b in steps))
    rows = [[c.title, *(_step(c, a, b) for a, b in steps)] for c in COLUMNS]
    return [
        "## Growth",
        "",
        SCALING,
        *table(titles, rows),
        "",
    ]


def _step(column: Column, before: Size, after: Size) -> str:
    values = column.value(before), column.value(after)
    found = exponent(*values, after.nodes / before.nodes)
    if found is None:
        return f"{values[0]:.3g} to {values[1]:.3g}"
    return _bold(f"x {values[1] / values[0]:.2f} (e {found:.2f})", over=found > LINEAR)


def _calls(sizes: Sequence[Size]) -> list[str]:
    operations = sorted({operation for size in sizes for operation in size.growth.calls})
    rows = [
        [
            f"{size.nodes:,}",
            *(f"{size.growth.calls.get(o, 0):,}" for o in operations),
            *(f"{count:,}" for count in count_types(size.growth.calls).values()),
        ]
        for size in sizes
    ]
    return table(("nodes", *operations, *(f"all {_NAMES[t]}" for t in CallType)), rows)


def _budgets(sizes: Sequence[Size]) -> list[str]:
    rows = [
        [
            f"{size.nodes:,}",
            _NAMES[type_],
            *(f"{share:.0%}" for share in size.growth.use(type_, rate)),
        ]
        for size in sizes
        for type_, rate in RATES.items()
    ]
    return table(("nodes", "budget", *(str(n + 1) for n in range(TENTHS))), rows)


def _reconciles(sizes: Sequence[Size]) -> list[str]:
    kinds = sorted({k for s in sizes for k in (*s.growth.reconciles, *s.reconciles_per_event)})
    rows = [
        [
            f"{size.nodes:,}",
            *(f"{size.growth.reconciles.get(k, 0) / size.enis:.2f}" for k in kinds),
            *(f"{size.reconciles_per_event.get(k, 0):.2f}" for k in kinds),
        ]
        for size in sizes
    ]
    growth = (f"{k}, for each new ENI" for k in kinds)
    return table(("nodes", *growth, *(f"{k}, for each pod event" for k in kinds)), rows)


def _processors(sizes: Sequence[Size], cores: int) -> list[str]:
    parts = list(sizes[0].growth.cpu)
    rows = [
        [
            f"{size.nodes:,}",
            *(f"{size.growth.cpu[part]:.1f}" for part in parts),
            f"{sum(size.growth.cpu.values()) / size.growth.seconds / cores:.0%}",
            f"{size.growth.cpu_of_others / cores:.1f}",
        ]
        for size in sizes
    ]
    titles = (f"{part}, s" for part in parts)
    return table(("nodes", *titles, "of all cores", "bound of the others, s"), rows)


def _percent(samples: Samples) -> str:
    low, median, high = (100 * s for s in (samples.low, samples.median, samples.high))
    return f"{median:.1f} ({low:.1f} to {high:.1f})"


def _bold(text: str, *, over: bool) -> str:
    return f"**{text}**" if over else text
