"""The agent's settings, and its errors when it cannot start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from openeni_crds.names import MARK_MASK
from openeni_nodeagent.settings import SettingsError, from_environment


def test_the_defaults_are_a_hosts_usual_folders() -> None:
    settings = from_environment({"NODE_NAME": "n1"})
    assert (str(settings.socket), str(settings.bin_folder)) == (
        "/run/openeni/cni.sock",
        "/opt/cni/bin",
    )
    assert (settings.log_level, settings.local_dns, settings.service_cidrs) == ("INFO", (), ())
    assert settings.mark_mask == MARK_MASK == 0x001F0000
    assert settings.flow_offload
    assert (str(settings.metrics_address), settings.metrics_port) == ("127.0.0.1", 0)


def test_lists_are_read_with_or_without_spaces() -> None:
    settings = from_environment(
        {
            "NODE_NAME": "n1",
            "OPENENI_LOCAL_DNS": "169.254.20.10, fd00::10",
            "OPENENI_SERVICE_CIDRS": "10.96.0.1/12,fd00:1::/112",
        }
    )
    assert settings.local_dns == ("169.254.20.10", "fd00::10")
    assert settings.service_cidrs == ("10.96.0.0/12", "fd00:1::/112")


def test_addresses_and_networks_are_kept_as_the_kernel_shows_them() -> None:
    given = {"OPENENI_LOCAL_DNS": "FD00::0:10", "OPENENI_SERVICE_CIDRS": "FD96:0::/112"}
    settings = from_environment({"NODE_NAME": "n1", **given})
    assert (settings.local_dns, settings.service_cidrs) == (("fd00::10",), ("fd96::/112",))


@pytest.mark.parametrize("address", ["192.0.2.7", "fd00::7"])
def test_metrics_are_served_where_the_environment_says(address: str) -> None:
    given = {"OPENENI_METRICS_ADDRESS": address, "OPENENI_METRICS_PORT": "9442"}
    settings = from_environment({"NODE_NAME": "n1", **given})
    assert (str(settings.metrics_address), settings.metrics_port) == (address, 9442)


def test_flows_are_offloaded_unless_the_environment_says_otherwise() -> None:
    off = from_environment({"NODE_NAME": "n1", "OPENENI_FLOW_OFFLOAD": "false"})
    assert not off.flow_offload
    with pytest.raises(SettingsError, match="OPENENI_FLOW_OFFLOAD 'no' is neither true nor false"):
        from_environment({"NODE_NAME": "n1", "OPENENI_FLOW_OFFLOAD": "no"})


@pytest.mark.parametrize("mask", ["0x001f0000", "0xfc000000", "0x1f", "0xffffffff", "992"])
def test_a_mask_of_neighbouring_bits_is_taken(mask: str) -> None:
    settings = from_environment({"NODE_NAME": "n1", "OPENENI_MARK_MASK": mask})
    assert settings.mark_mask == int(mask, 0)


@pytest.mark.parametrize(
    "mask", ["0x000f0000", "0x002f0000", "0", "-0x1f", "0x1f00000000", "1f0000", "mask"]
)
def test_another_mask_is_refused_with_an_example(mask: str) -> None:
    with pytest.raises(SettingsError) as raised:
        from_environment({"NODE_NAME": "n1", "OPENENI_MARK_MASK": mask})
    assert str(raised.value) == (
        f"OPENENI_MARK_MASK {mask!r} is not a mask of 5 or more neighbouring bits of 32, "
        "like 0x001f0000"
    )


def test_one_error_names_everything_that_is_wrong() -> None:
    with pytest.raises(SettingsError) as raised:
        from_environment(
            {
                "OPENENI_RUN": "run",
                "OPENENI_LOG_LEVEL": "loud",
                "OPENENI_LOCAL_DNS": "here",
                "OPENENI_SERVICE_CIDRS": "10.96.0.1/33",
                "OPENENI_METRICS_ADDRESS": "worker-3",
                "OPENENI_METRICS_PORT": "65536",
            }
        )
    said = str(raised.value)
    for word in ("NODE_NAME", "OPENENI_RUN 'run'", "'LOUD'", "'here'", "10.96.0.1/33"):
        assert word in said
    for word in ("OPENENI_METRICS_ADDRESS: 'worker-3'", "OPENENI_METRICS_PORT '65536'"):
        assert word in said
    assert "\n" not in said


def start(*before: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.run(
        [*before, sys.executable, "-m", "openeni_nodeagent"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path} | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_agent_without_a_node_name_fails_with_one_line() -> None:
    done = start()
    assert done.returncode == 2
    assert done.stderr.startswith("openeni-agent: NODE_NAME is missing")
    assert done.stderr.count("\n") == 1


@pytest.mark.root
def test_an_agent_without_capabilities_names_the_missing_ones(tmp_path: Path) -> None:
    command = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    done = start(*command, NODE_NAME="n1", OPENENI_RUN=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "openeni-agent: needs CAP_SYS_ADMIN: give the container these capabilities\n"
    )


@pytest.mark.root
def test_an_agent_without_an_api_server_names_the_way_out(tmp_path: Path) -> None:
    done = start(NODE_NAME="n1", OPENENI_RUN=str(tmp_path))
    assert done.returncode == 2
    assert "set KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr
