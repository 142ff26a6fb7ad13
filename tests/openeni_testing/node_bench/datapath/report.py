"""Render what the benchmark of the datapath has found as its page and its plots. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from openeni_testing.markdown import table
from openeni_testing.node_bench.bar_chart import Bar, Chart, svg
from openeni_testing.node_bench.datapath.measured import Measured
from openeni_testing.node_bench.estimates import Estimate, of_quantile, of_ratio
from openeni_testing.node_bench.targets import Bound, Target, machine_line, shown, target_table

HEAD: Final = """# Benchmarks of the datapath

Written by `make bench-datapath`. What packets cost the processor, at both ends together, between
two pods of a node (pod-pod), and between a pod and a VM in the pods' subnet (pod-remote): one byte
there and back over TCP (`tcp_rr`) and UDP (`udp_rr`), the same with a connection of its own
(`tcp_crr`), a stream (`tcp_stream`). Compared with a machine that is itself on the bridge (`host`),
and with the CNI project's plugins on a node of the same kind. All nodes have the chains of a real
kube-proxy (mode nftables), and so connection tracking. The node of `ptp-with-rules` has two routing
rules for each pod, as plugins need that lead pods out by another NIC than the node's own.
Everything runs on one processor, in short turns, so what is compared is the work of the whole path.

It is measured twice. **By the clock**, on the machine's own kernel: transactions and bytes in a
second of the processor's time. **In instructions**, on Debian's kernel in an emulator that counts
them: what a transaction takes, or a KiB of the stream. They are the same in each run, whatever else
the machine does, and each machine has all modes there. They tell which path is shorter, but not how
long it takes: no instruction waits for memory, and each byte that is copied counts as one, which
most of a stream's do.

Every figure is a median with its 95 % interval (bootstrap), unless that is the same when rounded. A
ratio above 1 means that openeni is faster, or needs fewer instructions. **No less**: with many pods
a pod is slower if the whole interval is below 1. Only figures of one kernel are compared.

What `make bench` measures is in [benchmarks of the node](benchmarks.md). Decisions say what
[instructions show](decisions/0074-chains-end-early-and-packets-are-counted-in-instructions.md), how
flows of `Veth` pods [pass by the stack](decisions/0075-established-flows-bypass-the-stack.md), and
what they cost [where they cannot](decisions/0041-the-nodes-benchmarks-need-no-cloud.md).
"""
REFERENCES: Final[Mapping[str, Sequence[str]]] = {
    "veth": ("ptp", "ptp-with-rules"),
    "ipvlan-l2": ("ipvlan plugin, l2", "macvlan"),
    "ipvlan-l3s": ("ipvlan plugin, l3s",),
    "ipvlan-l3": ("ipvlan plugin, l3",),
}  # the first one is the mode's own, and nothing may be slower than it
LEAST_OF_REFERENCE: Final = 0.95
HOST, POD_REMOTE = "host", "pod-remote"
VETH, L2 = "veth", "ipvlan-l2"


@dataclass(frozen=True)
class _Unit:
    """What is shown of a rate, which is in transactions or bytes in a second."""

    name: str
    of_rate: Callable[[float], float]


# An emulator's second has 1e9 instructions.
_COUNTED: Final = _Unit("1,000 instructions", lambda rate: 1e6 / rate)
_COUNTED_STREAM: Final = _Unit("instructions for a KiB", lambda rate: 1e9 * 1024 / rate)
_TIMED: Final = _Unit("1,000/s", lambda rate: rate / 1e3)
_TIMED_STREAM: Final = _Unit("Gbit/s", lambda rate: rate * 8e-9)


def page(found: Sequence[Measured], load: float, processors: int) -> str:
    """Return the whole page."""
    lines = [HEAD, machine_line(load, processors), ""]
    for one in found:
        targets = list(targets_of(one))
        bounded = [t for t in targets if t.bound is not None]
        lines += [
            f"## {_title(one)}",
            "",
            f"{sum(t.is_met for t in bounded)} of {len(bounded)} targets are met.{_flows(one)}",
            "",
            *target_table(targets),
            "",
            *(f"![{name.removesuffix('.svg')}](plots/{name})\n" for name in _plots(one)),
            *table(("path", "of", *_tests(one)), _rates(one)),
            "",
        ]
    return "\n".join(lines)


def targets_of(one: Measured) -> Iterator[Target]:
    """Yield each ratio with its target."""
    if L2 in one.rates and VETH in one.rates:
        for test in ("tcp_rr", "udp_rr"):
            yield _ratio(one, L2, VETH, POD_REMOTE, test)
            yield _ratio(one, REFERENCES[L2][0], REFERENCES[VETH][0], POD_REMOTE, test)
    for mode in (name for name in one.rates if name in REFERENCES):
        yield from _by_references(one, mode)
        for test in one.rates[mode][POD_REMOTE]:
            yield _ratio(one, mode, HOST, POD_REMOTE, test)
    for mode, crowd in one.crowds.items():
        for test, alone in crowd.alone.items():
            what = f"{test} {POD_REMOTE}, {one.pods} pods by one"
            yield Target(what, mode, of_ratio(crowd.among[test], alone), Bound.NO_LESS)


def _by_references(one: Measured, mode: str) -> Iterator[Target]:
    for reference in REFERENCES[mode]:
        bound = Bound.AT_LEAST if reference == REFERENCES[mode][0] else None
        for path, tests in one.rates[mode].items():
            for test in tests:
                yield _ratio(
                    one, mode, reference, path, test, bound=bound, limit=LEAST_OF_REFERENCE
                )


def _ratio(
    one: Measured,
    mode: str,
    other: str,
    path: str,
    test: str,
    *,
    bound: Bound | None = None,
    limit: float = 1.0,
) -> Target:
    found = of_ratio(one.rates[mode][path][test], one.rates[other][path][test])
    return Target(f"{test} {path}, by {other}", mode, found, bound, limit)


def _tests(one: Measured) -> list[str]:
    return [f"{test}, {_unit(one, test).name}" for test in one.rates[HOST][POD_REMOTE]]


def _rates(one: Measured) -> Iterator[list[str]]:
    for rig, paths in one.rates.items():
        for path, tests in paths.items():
            figures = (_median(one, rates, test) for test, rates in tests.items())
            yield [path, rig, *(shown(figure, "") for figure in figures)]


def plots(found: Sequence[Measured]) -> dict[str, str]:
    """Return the plots of all kernels by the names of their files."""
    return {name: text for one in found for name, text in _plots(one).items()}


def _plots(one: Measured) -> dict[str, str]:
    """Return a plot for each test, which compares all on one kernel."""
    kind = "instructions" if one.counted else "ipvlan" if L2 in one.rates else VETH
    return {
        f"{kind}-{test.replace('_', '-')}.svg": svg(
            Chart(
                f"{test}, {_title(one)}",
                f"{_unit(one, test).name}, median",
                [
                    [
                        Bar(
                            f"{path}: {rig}",
                            _median(one, paths[path][test], test),
                            0 if rig in REFERENCES else 2 if rig == HOST else 1,
                        )
                        for rig, paths in one.rates.items()
                        if path in paths
                    ]
                    for path in ("pod-pod", POD_REMOTE)
                ],
            )
        )
        for test in one.rates[HOST][POD_REMOTE]
    }


def _flows(one: Measured) -> str:
    return "" if one.offloads else " This kernel has no flowtables: all packets pass the stack."


def _title(one: Measured) -> str:
    return f"Kernel {one.kernel}{', in instructions' if one.counted else ''}"


def _median(one: Measured, rates: Sequence[float], test: str) -> Estimate:
    """Return what is shown of the rates of a test, in its unit."""
    unit = _unit(one, test)
    return of_quantile([unit.of_rate(rate) for rate in rates])


def _unit(one: Measured, test: str) -> _Unit:
    if test == "tcp_stream":
        return _COUNTED_STREAM if one.counted else _TIMED_STREAM
    return _COUNTED if one.counted else _TIMED
