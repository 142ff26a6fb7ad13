"""docs/support.md: what works where, as the run that sent the packets has found it. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from openeni_testing.matrix.axes import MODES, Traffic
from openeni_testing.matrix.cells import LIMITS, Cell, Limit, limit_of
from openeni_testing.matrix.outcomes import LETTERS, SEEN, Outcome, Outcomes, parse, table, works
from openeni_testing.matrix.paths import PATHS

_BLOCK: Final = "```text"
_INTRODUCTION: Final = """# Support

Which packets arrive, by the pool's datapath mode, the path, the family, the node's kube-proxy mode
and the kind of traffic. `make matrix` sends the packets of every cell, between two nodes, a remote
VM, a gateway, and a host behind a router with a smaller MTU, on networks that drop what Neutron's
anti-spoofing would. It writes this page, and fails if a cell is missing or not as it was.
`make test` sends the packets of a sample of the cells.

The traffic is TCP; UDP; ICMP echo; a datagram of the MTU's size that must not be fragmented, and
its answer; datagrams of several fragments; bulk TCP both ways, in segments that the links' offload
makes; the ICMP error of a closed port; and path MTU discovery, where the path is narrower than the
client's link. *IPv4* and *IPv6* are pods of that family alone, *dual-stack* those with both.

In `IPVlan` `L3` the network must answer ARP and neighbour discovery for the port, as ML2/OVN does.
"""
_SEEN: Final = """## Whom a server sees

Over TCP and UDP, where it is not the client's own address in every mode. With services and
NodePorts it depends on kube-proxy's own masquerading, too. *ENI* is the primary address of the
client's or the server's ENI.
"""
_CELLS: Final = """## Every cell

Four letters for each mode: IPv4, IPv6, dual-stack with IPv4, dual-stack with IPv6.
"""


def page(outcomes: Outcomes) -> str:
    """Return the whole page."""
    groups = _groups(outcomes)
    legend = "; ".join(f"`{letter}` {outcome}" for outcome, letter in LETTERS.items())
    parts = [
        _INTRODUCTION,
        "## Paths\n",
        *_markdown(["", *(_title(mode.word) for mode in MODES)], _summary(groups)),
        "",
        *(f"{number}. {_note(limit)}" for number, limit in enumerate(LIMITS, start=1)),
        "",
        _SEEN,
        *_markdown(["", *(_title(mode.word) for mode in MODES)], _seen(groups)),
        "",
        _CELLS,
        f"{legend}; `.` is not sent.\n",
        _BLOCK,
        table(outcomes).rstrip("\n"),
        "```",
        "",
    ]
    return "\n".join(parts)


def committed(text: str) -> dict[Cell, str]:
    """Return the outcomes on a page. Raises ValueError for a cell that is not declared."""
    return parse(text.partition(_BLOCK)[2].partition("```")[0])


def _groups(outcomes: Outcomes) -> Mapping[tuple[str, str], Outcomes]:
    """Return the outcomes by path and mode."""
    groups = defaultdict[tuple[str, str], dict[Cell, Outcome]](dict)
    for cell, outcome in outcomes.items():
        groups[cell.path.name, cell.mode][cell] = outcome
    return groups


def _summary(groups: Mapping[tuple[str, str], Outcomes]) -> Iterator[Sequence[str]]:
    for path in PATHS:
        yield [path.name, *(_mark(groups[path.name, mode.word]) for mode in MODES)]


def _mark(outcomes: Outcomes) -> str:
    limits = {limit for cell in outcomes if (limit := limit_of(cell))}
    numbers = ", ".join(str(n) for n, limit in enumerate(LIMITS, start=1) if limit in limits)
    answer = "yes" if any(map(works, outcomes.values())) else "no"
    return f"{answer} ({numbers})" if numbers else answer


def _note(limit: Limit) -> str:
    axes = (
        [f"proxy {proxy}" for proxy in sorted(limit.proxies)],
        [f"IPv{family}" for family in sorted(limit.families)],
        [str(traffic) for traffic in Traffic if traffic in limit.traffic],
    )
    where = "; ".join(", ".join(words) for words in axes if words)
    return f"**{limit.verdict}**{f' ({where})' if where else ''}: {limit.reason}"


def _seen(groups: Mapping[tuple[str, str], Outcomes]) -> Iterator[Sequence[str]]:
    for path in PATHS:
        found = [_owners(groups[path.name, mode.word]) for mode in MODES]
        if set(found) - {"client", ""}:
            yield [path.name, *found]


def _owners(outcomes: Outcomes) -> str:
    before, _, after = SEEN.partition("{}")
    texts = [
        outcome.removeprefix(before).removesuffix(after)
        for cell, outcome in outcomes.items()
        if limit_of(cell) is None and outcome.startswith(before)
    ]
    return " or ".join(dict.fromkeys(texts))


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _title(word: str) -> str:
    kind = "IPVlan"
    return f"`{kind}` `{word.removeprefix(kind)}`" if word.startswith(kind) else f"`{word}`"
