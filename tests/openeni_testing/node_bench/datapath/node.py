"""The process on one kernel: `python -m openeni_testing.node_bench.datapath.node FOLDER`.

It keeps to one processor, with all that it starts: what is compared is the processor time that a
packet takes, and a wake-up of another processor would take longer than all of it.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from openeni_nodeagent.datapath.linux import modes
from openeni_testing.node_bench.datapath import traffic
from openeni_testing.node_bench.datapath.measured import Crowd, Measured, encode
from openeni_testing.node_bench.datapath.rigs import POD_REMOTE, Rig, Wire

ORDERS, RESULT = "orders.json", "result.json"
UDP_WAIT: Final = 3  # seconds until a flow of UDP may bypass the stack


class Orders(msgspec.Struct, frozen=True):
    """What to compare, and how often."""

    program: str  # traffic
    plugins: str  # folder of the reference plugins
    modes: tuple[str, ...]
    references: tuple[str, ...]
    turns: int
    seconds: float  # of one sample
    pods: int  # of a crowd
    counted: bool  # in an emulator, whose clock counts instructions


class Bench:
    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._program = Path(orders.program)
        self._begun = time.monotonic()

    def measure(self) -> Measured:
        orders = self._orders
        wire = Wire(self._program, Path(orders.plugins))
        try:
            rigs = [wire.host(), *map(wire.openeni, orders.modes)]
            rigs += map(wire.plugin, orders.references)
            rates = self._in_turns(rigs)
            alone = {rig.name: rig for rig in rigs if rig.name in orders.modes}
            crowds = {mode: self._crowd(wire, alone[mode]) for mode in orders.modes}
            for rig in rigs:
                rig.close()
        finally:
            wire.close()
        return Measured(
            os.uname().release,
            rates,
            crowds,
            orders.pods,
            orders.counted,
            modes.has_flow_offload(),
        )

    def _in_turns(self, rigs: Sequence[Rig]) -> dict[str, dict[str, dict[str, list[float]]]]:
        """Return the rates of each rig; each sample of one follows the same sample of another."""
        found: dict[str, dict[str, dict[str, list[float]]]] = {
            rig.name: {path: {test: [] for test in traffic.TESTS} for path in rig.targets}
            for rig in rigs
        }
        for turn in range(self._orders.turns):
            self._log(f"turn {turn + 1} of {self._orders.turns}")
            order = rigs if turn % 2 else rigs[::-1]
            for test in traffic.TESTS:
                for path in rigs[-1].targets:
                    for rig in (rig for rig in order if path in rig.targets):
                        found[rig.name][path][test].append(self._sample(rig, path, test))
        return found

    def _crowd(self, wire: Wire, alone: Rig) -> Crowd:
        """Compare a pod with one on a node with many others."""
        self._log(f"{alone.name}: {self._orders.pods} pods more")
        among = wire.openeni(alone.name, others=self._orders.pods)
        found: dict[str, dict[str, list[float]]] = {"alone": {}, "among": {}}
        for turn in range(self._orders.turns):
            pair = [("alone", alone), ("among", among)]
            for test in traffic.TESTS:
                for name, rig in pair[:: -1 if turn % 2 else 1]:
                    rates = found[name].setdefault(test, [])
                    rates.append(self._sample(rig, POD_REMOTE, test))
        among.close()
        return Crowd(**found)

    def _sample(self, rig: Rig, path: str, test: str) -> float:
        address = rig.targets[path]
        seconds, wait = self._orders.seconds, UDP_WAIT if modes.has_flow_offload() else 0
        return traffic.rate(self._program, rig.client, test, address, seconds, wait=wait)

    def _log(self, text: str) -> None:
        print(f"{time.monotonic() - self._begun:6.0f} s  {text}", flush=True)


def main(folder: Path) -> int:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    orders = msgspec.json.decode((folder / ORDERS).read_bytes(), type=Orders)
    (folder / RESULT).write_bytes(encode(Bench(orders).measure()))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
