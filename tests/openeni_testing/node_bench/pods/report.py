"""Render what the benchmark of ADD and DEL has found as docs/benchmarks.md and its plots. Pure."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from openeni_testing.markdown import table
from openeni_testing.node_bench.bar_chart import Bar, Chart, svg
from openeni_testing.node_bench.estimates import (
    Block,
    Estimate,
    of_independent_ratio,
    of_quantile,
    of_ratio,
)
from openeni_testing.node_bench.pods.measured import Calls, Measured, Turns
from openeni_testing.node_bench.targets import Bound, Target, machine_line, shown, target_table

HEAD: Final = """# Benchmarks of the node

Written by `make bench`. ADD and DEL are as the container runtime sees them, from the execution of
the plugin to its exit. openeni and the reference, one of the CNI project's own plugins with
`host-local`, take turns on the same kernel, so other load on the machine slows both down alike:
ratios mean something, milliseconds do so only beside others of the same kernel. The agent runs in
its image, with the interpreter that it ships with. Every figure is a median, unless it says
otherwise, with its 95 % interval (bootstrap). How fast packets are is in
[benchmarks of the datapath](benchmarks-datapath.md); the operator has its own (`make
bench-operator`).

A **warm ADD**: the ENI is there, its addresses are free. Its **bound** is what it takes at least,
measured in the same turns: the execution of a program that does nothing, and the ADD's own netlink
messages, encoded beforehand, until the kernel has acknowledged the last one. That program is static
and has the machine's own C library. openeni's has musl, which begins faster, so the ratio with such
a program is shown, too. Of a burst, the programs that do nothing are shown alone.

While the **API server is down**, the agent cannot reach it. It never talks to OpenStack. Whether a
call takes **no more** time than on the empty node is asked of four outages and the time after each
of them. With 250 pods it is asked minutes apart, in which the machine may have become slower: each
block of calls counts in executions of the program that does nothing in its own turns. A call takes
more if the whole interval is above 1.

**Healing** is the time from the damage until the last change after which the node is as before,
with all pods on it, when nothing else has changed for a while: looks have a fifth of the time at
most, so after many changes the next one waits. Damaged is what the kernel tells of: proxy
neighbours, of which it tells nothing, wait for the periodic look. The ENI is one with the most
pods. Where its NIC is plugged in again, all of these are built again in ipvlan, whose slaves go
with it. The **agent at rest** has all pods and looks at the node every 30 s.
"""
PHASES: Final = """## Where the time goes

Medians of the first block, milliseconds and share of what the runtime sees. `executable` is all
that is outside the agent: fork, exec, connect, exit.
"""
MOST_TO_BOUND, MOST_DEL = 1.6, 0.3
MOST_BURST_MEDIAN, MOST_BURST_P99 = 0.25, 0.4
MOST_HEALING, MOST_MEBIBYTES, MOST_CPU = 1.0, 80.0, 1.0
P99: Final = 0.99


def page(found: Sequence[Measured], load: float, processors: int) -> str:
    """Return the whole page."""
    targets = [target for one in found for target in targets_of(one)]
    missed = sum(not target.is_met for target in targets)
    bounded = sum(target.bound is not None for target in targets)
    lines = [
        HEAD,
        machine_line(load, processors),
        "",
        *table(
            ("datapath", "reference", "kernel"),
            [[one.datapath, f"{one.reference} + host-local", one.kernel] for one in found],
        ),
        "",
        "## Targets",
        "",
        f"{bounded - missed} of {bounded} are met.",
        "",
        *target_table(targets),
        "",
        *(f"![{name.removesuffix('.svg')}](plots/{name})\n" for name in plots(found)),
        "## Milliseconds",
        "",
        *table(("", "datapath", "openeni", "reference"), milliseconds(found)),
        "",
        PHASES,
        *(line for one in found for line in phase_tables(one)),
    ]
    return "\n".join(lines)


def targets_of(one: Measured) -> Iterator[Target]:
    """Yield each figure of a datapath with its target."""
    yield from _warm(one)
    yield from _bursts(one)
    yield from _same(one)
    for damage, seconds in one.healing.items():
        found = of_quantile(seconds)
        yield Target(f"healing: {damage}", one.datapath, found, Bound.AT_MOST, MOST_HEALING, "s")
    yield from _usage(one)


def _usage(one: Measured) -> Iterator[Target]:
    if one.usage is None:
        return
    memory = Estimate(one.usage.proportional, one.usage.proportional, one.usage.resident)
    what = "agent at rest: memory (PSS to RSS)"
    yield Target(what, one.datapath, memory, Bound.AT_MOST, MOST_MEBIBYTES, "MiB")
    cpu = Estimate(statistics.fmean(one.usage.cpu), min(one.usage.cpu), max(one.usage.cpu))
    what = "agent at rest: of a core"
    yield Target(what, one.datapath, cpu.times(100), Bound.AT_MOST, MOST_CPU, "%")


def _warm(one: Measured) -> Iterator[Target]:
    calls, first = one.empty, slice(len(one.messages))
    to_bound = of_ratio(calls.openeni.add[first], calls.nothing[first], one.messages)
    yield Target("warm ADD by its bound", one.datapath, to_bound, Bound.AT_MOST, MOST_TO_BOUND)
    if calls.nothing_of_musl:
        of_musl = of_ratio(calls.openeni.add[first], calls.nothing_of_musl[first], one.messages)
        yield Target("warm ADD by its bound with musl", one.datapath, of_musl)
    add = of_ratio(calls.openeni.add, calls.reference.add)
    yield Target("warm ADD by the reference's", one.datapath, add)
    delete = of_ratio(calls.openeni.delete, calls.reference.delete)
    yield Target("DEL by the reference's", one.datapath, delete, Bound.AT_MOST, MOST_DEL)


def _bursts(one: Measured) -> Iterator[Target]:
    for size, bursts in one.bursts.items():
        ours, theirs = bursts.calls.openeni, bursts.calls.reference
        nothing = of_ratio(bursts.calls.nothing, theirs.add, turns=bursts.count)
        yield Target(f"bursts of {size}: a program that does nothing, p50", one.datapath, nothing)
        for command, over, under in (
            ("ADD", ours.add, theirs.add),
            ("DEL", ours.delete, theirs.delete),
        ):
            what = f"bursts of {size}: {command}"
            median = of_ratio(over, under, turns=bursts.count)
            tail = of_ratio(over, under, share=P99, turns=bursts.count)
            limit = MOST_BURST_MEDIAN if command == "ADD" else MOST_DEL
            yield Target(f"{what}, p50", one.datapath, median, Bound.AT_MOST, limit)
            of_add = Bound.AT_MOST if command == "ADD" else None
            yield Target(f"{what}, p99", one.datapath, tail, of_add, MOST_BURST_P99)


def _same(one: Measured) -> Iterator[Target]:
    """Yield what shall take no longer than on the empty node, each beside the reference's."""
    for what, other, empty in (
        (f"with {one.pods} pods", one.full, one.empty),
        ("API server down", one.down, one.between),
    ):
        for command, side in (("ADD", "add"), ("DEL", "delete")):
            ours = of_independent_ratio(
                _block(other, other.openeni, side), _block(empty, empty.openeni, side)
            )
            theirs = of_independent_ratio(
                _block(other, other.reference, side), _block(empty, empty.reference, side)
            )
            yield Target(f"{command} {what}", one.datapath, ours, Bound.NO_MORE)
            yield Target(f"the reference's {command} {what}", one.datapath, theirs)


def _block(turns: Turns, calls: Calls, side: str) -> Block:
    return Block(getattr(calls, side), turns.nothing)


def milliseconds(found: Iterable[Measured]) -> Iterator[list[str]]:
    """Yield the rows of the table of milliseconds."""
    for one in found:
        blocks: dict[str, Turns] = {
            "empty node": one.empty,
            f"{one.pods} pods": one.full,
            "API server down": one.down,
            **{f"burst of {size}": bursts.calls for size, bursts in one.bursts.items()},
        }
        for name, calls in blocks.items():
            for command, ours, theirs in (
                ("ADD", calls.openeni.add, calls.reference.add),
                ("DEL", calls.openeni.delete, calls.reference.delete),
            ):
                cells = (_milliseconds(ours), _milliseconds(theirs))
                yield [f"{command}, {name}", one.datapath, *cells]
            nothing = _milliseconds(calls.nothing)
            yield [f"a program that does nothing, {name}", one.datapath, nothing, ""]
            if calls.nothing_of_musl:
                of_musl = _milliseconds(calls.nothing_of_musl)
                yield [f"the same with musl, {name}", one.datapath, of_musl, ""]
        messages = _milliseconds(one.messages)
        yield ["an ADD's messages, encoded before", one.datapath, messages, ""]


def phase_tables(one: Measured) -> Iterator[str]:
    """Yield the tables with the median of each phase of the first block's calls."""
    for command, seen in (("ADD", one.empty.openeni.add), ("DEL", one.empty.openeni.delete)):
        records = one.phases[command]
        whole = statistics.median(seen[: len(records)])
        names = dict.fromkeys(name for record in records for name in record)
        inside = {n: statistics.median(r.get(n, 0.0) for r in records) for n in names}
        total = inside.pop("total")
        spent = {"executable": max(0.0, whole - total), **inside}
        cells = [f"{1000 * seconds:.2f} ({seconds / whole:.0%})" for seconds in spent.values()]
        titles = (f"{one.datapath}, {command}", *spent)
        yield from table(titles, [[f"{1000 * whole:.2f}", *cells]])
        yield ""


def plots(found: Sequence[Measured]) -> dict[str, str]:
    """Return the plots by the names of their files."""
    warm = [
        [
            Bar(f"{one.datapath}: {name}", of_quantile(samples).times(1000), colour)
            for name, samples, colour in (
                ("openeni", one.empty.openeni.add, 0),
                (one.reference, one.empty.reference.add, 1),
                ("bound: executable", one.empty.nothing, 2),
                ("bound: messages", one.messages, 2),
            )
        ]
        for one in found
    ]
    ratios = [
        [
            Bar(f"{one.datapath}: {name}", of_ratio(ours, theirs, turns=turns), colour)
            for name, ours, theirs, turns, colour in _ratios(one)
        ]
        for one in found
    ]
    return {
        "add.svg": svg(Chart("A warm ADD", "milliseconds, median", warm)),
        "ratios.svg": svg(Chart("By the reference plugin", "ratio of medians", ratios, 1.0)),
    }


def _ratios(
    one: Measured,
) -> Iterator[tuple[str, Sequence[float], Sequence[float], int, int]]:
    blocks: Mapping[str, tuple[Turns, int]] = {
        "": (one.empty, 1),
        f", {one.pods} pods": (one.full, 1),
        **{f", burst of {size}": (b.calls, b.count) for size, b in one.bursts.items()},
    }
    for name, (calls, turns) in blocks.items():
        yield f"ADD{name}", calls.openeni.add, calls.reference.add, turns, 0
        yield f"DEL{name}", calls.openeni.delete, calls.reference.delete, turns, 3


def _milliseconds(samples: Sequence[float]) -> str:
    return shown(of_quantile(samples).times(1000), "ms")
