"""The cloud's state survives the end of the lab's init, which ends every process."""

import os
import signal

import pytest

from openeni_lab.cloud import access
from openeni_testing.lab.small_lab import SmallLab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.root, pytest.mark.cloud, pytest.mark.long]


def test_a_lab_whose_init_was_killed_comes_back_with_its_servers_and_ports(cloud: SmallLab) -> None:
    before = access.servers(cloud.layout)
    os.kill(cloud.machine.pid(), signal.SIGKILL)
    wait_for(lambda: not cloud.machine.alive(), "the lab's init is gone")
    cloud.up()
    assert access.servers(cloud.layout) == before
    assert set(cloud.network.dropped()) >= {server["port"] for server in before.values()}
    command = [f"{cloud.venv}/bin/openstack", "server", "list", "-f", "value", "-c", "Status"]
    env = access.client_environment(cloud.layout)
    assert cloud.machine.check(command, env=env, timeout=300).split() == ["ACTIVE"] * len(before)
    assert cloud.machine.check(["curl", "-s", "-m", "20", "http://10.98.3.250/"]) == "remote"


def test_a_second_up_finds_everything_there(cloud: SmallLab) -> None:
    cloud.up()
    assert all(step.done() for step in cloud.steps())
