"""The chart's variables are those that the programs read: neither complains of a misspelt name."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_nodeagent import settings as agent
from openeni_operator import settings as operator

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

OURS = "OPENENI_"
FIELDS = {
    "metadata.name": "operator-5d1b",
    "metadata.namespace": "ns",
    "status.podIP": "fd00::7",
    "spec.nodeName": "worker-3",
}
# None of these is a default of the programs.
VALUES: Json = {
    "operator": {
        "logLevel": "DEBUG",
        "workers": 64,
        "resyncSeconds": 7.5,
        "probePort": 19441,
        "orphans": "Delete",
        "cloud": {
            "timeoutSeconds": 30,
            "readsPerSecond": 0.5,
            "writesPerSecond": 1000,
            "attachesPerSecond": 2.5,
        },
    },
    "metrics": {"enabled": True},
    "agent": {
        "logLevel": "ERROR",
        "cniBinDir": "/var/lib/cni/bin",
        "cniConfDir": "/var/lib/cni/conf",
        "localDNS": ["169.254.20.10", "fd00::10"],
        "serviceCIDRs": ["10.96.0.0/12", "fd00:1::/112"],
        "markMask": "0x3f000000",
        "flowOffload": False,
        "metricsPort": 19442,
    },
}
# They are the image's business.
NOT_THE_CHARTS = {"OPENENI_RUN", "OPENENI_CNI_EXECUTABLE"}


class Environment(Mapping[str, str]):
    """An environment that remembers which of its variables were asked for, set or not."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def ours(self) -> set[str]:
        return {name for name in self if name.startswith(OURS)}

    def ours_asked(self) -> set[str]:
        return {name for name in self.asked if name.startswith(OURS)}


def environment(component: str) -> Environment:
    """Return what the kubelet gives the component's container."""
    helm = prepared.read(["helm"]).built.bin("helm")
    workloads = [d for d in chart.render(helm, VALUES) if d["kind"] in chart.WORKLOADS]
    containers = [d["spec"]["template"]["spec"]["containers"][0] for d in workloads]
    (env,) = (c["env"] for c in containers if c["name"] == component)
    return Environment({variable["name"]: value(variable) for variable in env})


def value(variable: Json) -> str:
    if "valueFrom" in variable:
        return FIELDS[variable["valueFrom"]["fieldRef"]["fieldPath"]]
    return str(variable["value"])


def test_the_operator_reads_every_variable_of_the_chart() -> None:
    given = environment("operator")
    assert operator.from_environment(given) == operator.Settings(
        clouds_file="/run/secrets/openstack/clouds.yaml",
        workers=64,
        resync=7.5,
        log_level="DEBUG",
        namespace="ns",
        pod="operator-5d1b",
        probe_address=IPv6Address("fd00::7"),
        probe_port=19441,
        metrics=True,
        cloud_timeout=30,
        cloud_writes=1000,
        cloud_reads=0.5,
        cloud_attaches=2.5,
        orphans=operator.OrphanMode.DELETE,
    )
    assert given.ours() == given.ours_asked() - NOT_THE_CHARTS


def test_the_agent_reads_every_variable_of_the_chart() -> None:
    given = environment("agent")
    assert agent.from_environment(given) == agent.Settings(
        node="worker-3",
        run=Path("/run/openeni"),
        bin_folder=Path("/var/lib/cni/bin"),
        conf_folder=Path("/var/lib/cni/conf"),
        executable=Path("/usr/local/libexec/openeni"),
        networkmanager=Path("/host/run/NetworkManager/conf.d"),
        networkd=Path("/host/run/systemd/network"),
        networkd_conf=Path("/host/run/systemd/networkd.conf.d"),
        udev=Path("/host/run/udev/rules.d"),
        bus=Path("/host/run/dbus/system_bus_socket"),
        log_level="ERROR",
        local_dns=("169.254.20.10", "fd00::10"),
        service_cidrs=("10.96.0.0/12", "fd00:1::/112"),
        mark_mask=0x3F000000,
        flow_offload=False,
        metrics_address=IPv6Address("fd00::7"),
        metrics_port=19442,
    )
    assert given.ours() == given.ours_asked() - NOT_THE_CHARTS
