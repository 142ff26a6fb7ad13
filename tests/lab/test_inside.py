"""Run the tests marked `inside` in a lab that has only OpenStack."""

import os
import sys
from pathlib import Path

import pytest

from openeni_lab.cloud.access import client_environment
from openeni_testing.lab.small_lab import SmallLab

pytestmark = [pytest.mark.root, pytest.mark.cloud, pytest.mark.long]

ROOT = Path(__file__).parents[2]
SECONDS = 800


def test_the_operators_cloud_keeps_its_contract_on_the_real_openstack(cloud: SmallLab) -> None:
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "inside",
        "-p",
        "no:cacheprovider",
        "--durations=1",
    ]
    passed_on = {name: os.environ.get(name, "") for name in ("PATH", "OPENENI_SOAK")}
    environment = {**client_environment(cloud.layout), **passed_on}
    command = ["env", f"--chdir={ROOT}", *words, "tests/operator"]
    done = cloud.machine.run(command, env=environment, timeout=SECONDS)
    assert done.code == 0, done.text[-4000:]
    assert " passed" in done.text
