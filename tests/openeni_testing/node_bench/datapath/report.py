"""Render what the benchmark of the datapath has found as its page and its plots. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from openeni_testing.markdown import table
from openeni_testing.node_bench.bar_chart import Bar, Chart, svg
from openeni_testing.node_bench.datapath.measured import Measured
from openeni_testing.node_bench.estimates import of_quantile, of_ratio
from openeni_testing.node_bench.targets import Bound, Target, machine_line, shown, target_table

HEAD: Final = """# Benchmarks of the datapath

Written by `make bench-datapath`. Transactions and bytes in a second of the processor's time, that
of both ends together, between two pods of a node (pod-pod), and between a pod and a VM in the pods'
subnet (pod-remote): one byte there and back over TCP (`tcp_rr`) and UDP (`udp_rr`), the same with a
connection of its own (`tcp_crr`), a stream (`tcp_stream`). Compared with a machine that is itself
on the bridge (`host`), and with the CNI project's plugins on a node of the same kind. All nodes
have the chains of a real kube-proxy (mode nftables), and so connection tracking. The node of
`ptp-with-rules` has two routing rules for each pod, as plugins need that lead pods out by another
NIC than the node's own. Everything runs on one processor, in short turns, so what is compared is
the work of the whole path. Every figure is a median with its 95 % interval (bootstrap); a ratio
above 1 means that openeni is faster. **No less**: with many pods a pod is slower if the whole
interval is below 1. Only figures of one kernel are compared; ipvlan may need a kernel of its own.
What `make bench` measures is in [benchmarks of the node](benchmarks.md), and why `Veth` is behind
`ptp` in [decision 0041](decisions/0041-the-nodes-benchmarks-need-no-cloud.md).
"""
REFERENCES: Final[Mapping[str, Sequence[str]]] = {
    "veth": ("ptp", "ptp-with-rules"),
    "ipvlan-l2": ("ipvlan plugin, l2", "macvlan"),
    "ipvlan-l3s": ("ipvlan plugin, l3s",),
    "ipvlan-l3": ("ipvlan plugin, l3",),
}  # the first one is the mode's own, and nothing may be slower than it
LEAST_OF_REFERENCE, LEAST_L2 = 0.95, 1.4
HOST, POD_REMOTE = "host", "pod-remote"
VETH, L2 = "veth", "ipvlan-l2"
_UNITS: Final = {"tcp_stream": ("Gbit/s", 8e-9)}
_PER_SECOND: Final = ("1,000/s", 1e-3)


def page(found: Sequence[Measured], load: float, processors: int) -> str:
    """Return the whole page."""
    lines = [HEAD, machine_line(load, processors), ""]
    for one in found:
        targets = list(targets_of(one))
        bounded = [t for t in targets if t.bound is not None]
        lines += [
            f"## Kernel {one.kernel}",
            "",
            f"{sum(t.is_met for t in bounded)} of {len(bounded)} targets are met.",
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
            yield _ratio(one, L2, VETH, POD_REMOTE, test, bound=Bound.AT_LEAST, limit=LEAST_L2)
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
    return [f"{test}, {_unit(test)[0]}" for test in one.rates[HOST][POD_REMOTE]]


def _rates(one: Measured) -> Iterator[list[str]]:
    for rig, paths in one.rates.items():
        for path, tests in paths.items():
            rates = (of_quantile(rates).times(_unit(test)[1]) for test, rates in tests.items())
            yield [path, rig, *(shown(rate, "") for rate in rates)]


def plots(found: Sequence[Measured]) -> dict[str, str]:
    """Return the plots of all kernels by the names of their files."""
    return {name: text for one in found for name, text in _plots(one).items()}


def _plots(one: Measured) -> dict[str, str]:
    """Return a plot for each test, which compares all on one kernel."""
    kind = "ipvlan" if L2 in one.rates else VETH
    return {
        f"{kind}-{test.replace('_', '-')}.svg": svg(
            Chart(
                f"{test}, kernel {one.kernel}",
                f"{_unit(test)[0]}, median",
                [
                    [
                        Bar(
                            f"{path}: {rig}",
                            of_quantile(paths[path][test]).times(_unit(test)[1]),
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


def _unit(test: str) -> tuple[str, float]:
    return _UNITS.get(test, _PER_SECOND)
