"""Send the packets of worlds, and say which cells have become of other than is expected."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from openeni_testing.matrix.cells import Cell, Verdict, WorldKey, limit_of
from openeni_testing.matrix.outcomes import ARRIVED, NOTHING, SEEN, Outcome, Outcomes, works
from openeni_testing.matrix.services import port_of
from openeni_testing.matrix.traffic import Flow, Reply, send
from openeni_testing.matrix.world import World

_OF_CLIENT: Final = frozenset({ARRIVED, SEEN.format("client"), NOTHING})


def run(
    key: WorldKey,
    chosen: Iterable[Cell],
    prepare: Callable[[World], None] = lambda _: None,
    *,
    one_subnet: bool = False,
) -> dict[Cell, Outcome]:
    """Build the world, send the packets of these of its cells, and return the outcomes.

    `prepare` may change the world before; in `one_subnet`, nodes are where pods are. The network
    must have dropped nothing as spoofed, and the pods must be as planned at the end.
    """
    with tempfile.TemporaryDirectory() as folder:
        world = World(key.mode, key.stack, key.proxy, Path(folder), one_subnet)
        try:
            prepare(world)
            outcomes = {cell: _outcome(world, cell) for cell in chosen}
            dropped = world.network.dropped()
            assert not dropped or _is_open(key.cells()), f"{key}: spoofed, by port: {dropped}"
            for pod in world.node.pods:
                found = world.node.run(world.node.datapath.check, pod.facts, pod.namespace.path)
                assert found == (), f"{key}: {pod.namespace.name}: {found}"
        finally:
            world.close()
    return outcomes


def differences(outcomes: Outcomes, committed: Outcomes) -> Iterator[str]:
    """Yield a line for each cell that is not as expected, and for each that is missing."""
    for cell, outcome in outcomes.items():
        limit = limit_of(cell)
        is_open = limit is not None and limit.verdict is Verdict.UNSUPPORTED
        if works(outcome) == (limit is not None) and not is_open:
            wanted = f"expected: {limit.verdict}" if limit else "it must work"
            yield f"{cell}: {outcome}; {wanted}"
        elif cell.path.keeps_client and not is_open and outcome not in _OF_CLIENT:
            yield f"{cell}: {outcome}; it must keep the client's address"
        elif committed.get(cell) != outcome:
            yield f"{cell}: {outcome}; committed: {committed.get(cell, 'nothing')}"


def _is_open(cells: Iterable[Cell]) -> bool:
    """Return True if packets of some cells may be lost, also to the network's anti-spoofing."""
    limits = map(limit_of, cells)
    return any(limit and limit.verdict is Verdict.UNSUPPORTED for limit in limits)


def _outcome(world: World, cell: Cell) -> Outcome:
    """Send the packets of one cell."""
    family, target = cell.column.family, cell.path.target
    flow = Flow(
        world.destination(target, family),
        family,
        lambda port: port_of(target, port),
        expected=limit_of(cell) is None,
    )
    try:
        reply = world.machines[cell.path.client].run(send, cell.traffic, flow)
    except OSError:
        return NOTHING
    return _classified(world, cell, reply) if reply else NOTHING


def _classified(world: World, cell: Cell, reply: Reply) -> Outcome:
    """Return the outcome, with the owner of the address that the server saw."""
    if reply.server not in {"", cell.path.server}:
        return f"{reply.server} answers"
    if not reply.client:
        return ARRIVED
    owners: Mapping[str, tuple[str, ...]] = {
        "client": world.addresses[cell.path.client],
        "client's ENI": world.primary(cell.path.client),
        "server's ENI": world.primary(cell.path.server),
        "node": world.addresses["node"],
    }
    seen = (owner for owner, addresses in owners.items() if reply.client in addresses)
    return SEEN.format(next(seen, reply.client))
