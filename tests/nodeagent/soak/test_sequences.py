"""Random sequences of what may happen to a node: then all agree, nothing leaks, pods are reached.

OPENENI_SEQUENCES sets how many there are in each mode, OPENENI_SEED the first one's number; a
failure prints both that number and the steps, which OPENENI_STEPS plays alone.
"""

import os
import random
from pathlib import Path
from typing import Final

import pytest

from openeni_crds.enipool import Datapath, Mode
from openeni_testing.network.one_eni import MODES
from openeni_testing.soak.node import suffering_node
from openeni_testing.soak.sequences import Step, parse, play, sequence

pytestmark = [pytest.mark.root, pytest.mark.exhaustive, pytest.mark.every_share]
COUNT: Final = int(os.environ.get("OPENENI_SEQUENCES") or "0")
OF_VETH, OF_EACH_IPVLAN = 20, 10  # without OPENENI_SEQUENCES: 50 in all modes
SEED: Final = int(os.environ.get("OPENENI_SEED") or random.SystemRandom().randrange(10**6))
STEPS: Final = os.environ.get("OPENENI_STEPS", "")
SECONDS: Final = 900.0 + 60 * COUNT


def show(seed: int, steps: tuple[Step, ...]) -> None:
    """Print how to play a sequence again; pytest shows it if the test fails."""
    words = " ".join(map(str, steps))
    print(f"OPENENI_SEED={seed}\nOPENENI_STEPS='{words}'")  # noqa: T201


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("datapath", MODES)
def test_after_any_sequence_all_agree_nothing_leaks_and_every_pod_is_reached(
    tmp_path: Path, executable: Path, datapath: Datapath
) -> None:
    count = COUNT or (OF_VETH if datapath.mode is Mode.VETH else OF_EACH_IPVLAN)
    chosen = [parse(STEPS)] if STEPS else [sequence(SEED + n) for n in range(count)]
    with suffering_node(tmp_path, executable, datapath) as node:
        for number, steps in enumerate(chosen):
            show(SEED + number, steps)
            play(node, steps)
        log = (tmp_path / "agent.log").read_text()
    assert "Traceback" not in log
    assert "another owner" not in log
