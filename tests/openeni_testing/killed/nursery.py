"""`python -m openeni_testing.killed.nursery FOLDER FACTOR ORIGIN TIMEOUT`: operators by fork."""

import importlib
import sys
from pathlib import Path
from typing import Any, Final

from openeni_testing.killed.fast_time import FastTime
from openeni_testing.nursery import raise_children

RUN: Final = "openeni_testing.killed.operator_run"
USED_LATE: Final = ("openstack.network.v2._proxy", "openstack.compute.v2._proxy")


def main(folder: Path, time: FastTime, timeout: float) -> None:
    time.install()
    operator: Any = importlib.import_module(RUN)  # only now: its defaults are of this clock
    for module in USED_LATE:
        importlib.import_module(module)
    raise_children(lambda name: int(operator.run(folder, name, time, timeout)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), FastTime(*map(float, sys.argv[2:4])), float(sys.argv[4]))
