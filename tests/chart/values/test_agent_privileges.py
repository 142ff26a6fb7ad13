"""What the chart lets the agent do on a node: the exact list, with a reason in docs for each."""

from collections.abc import Mapping
from typing import Any

import pytest

from openeni_lab.layout import REPOSITORY
from openeni_lab.product import chart
from openeni_lab.programs import prepared
from openeni_nodeagent.__main__ import CAPABILITIES
from openeni_nodeagent.datapath.linux.sysctls import HOST_SYSCTLS
from openeni_nodeagent.settings import Settings, from_environment

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

PAGE = REPOSITORY / "docs" / "security.md"
READ_ONLY, WRITABLE = "read-only", "writable"
# Of the node: the folder, whether it is made where it is missing, where the agent sees it, and how.
MOUNTS = {
    ("/run/openeni", True, "/run/openeni", WRITABLE),
    ("/opt/cni/bin", True, "/opt/cni/bin", WRITABLE),
    ("/etc/cni/net.d", True, "/etc/cni/net.d", WRITABLE),
    ("/run/netns", True, "/run/netns", READ_ONLY),
    ("/proc/sys/net", False, "/host/proc/sys/net", WRITABLE),
    ("/run/NetworkManager/conf.d", True, "/host/run/NetworkManager/conf.d", WRITABLE),
    ("/run/systemd/network", True, "/host/run/systemd/network", WRITABLE),
    ("/run/systemd/networkd.conf.d", True, "/host/run/systemd/networkd.conf.d", WRITABLE),
    ("/run/udev/rules.d", True, "/host/run/udev/rules.d", WRITABLE),
    ("/run/dbus", True, "/host/run/dbus", READ_ONLY),
}


def agent(**values: Any) -> Json:
    """Return the agent's pod."""
    helm = prepared.read(["helm"]).built.bin("helm")
    (found,) = (d for d in chart.render(helm, {"agent": values}) if d["kind"] == "DaemonSet")
    pod: Json = found["spec"]["template"]["spec"]
    return pod


def container(pod: Json) -> Json:
    (found,) = pod["containers"]
    return dict(found)


def mounts(pod: Json) -> set[tuple[str, bool, str, str]]:
    """Return the mounts of the node's folders, as `MOUNTS` lists them."""
    volumes = {v["name"]: v["hostPath"] for v in pod["volumes"]}
    assert {v["type"] for v in volumes.values()} == {"Directory", "DirectoryOrCreate"}
    return {
        (
            volumes[m["name"]]["path"],
            volumes[m["name"]]["type"] == "DirectoryOrCreate",
            m["mountPath"],
            READ_ONLY if m.get("readOnly") else WRITABLE,
        )
        for m in container(pod)["volumeMounts"]
    }


def settings(pod: Json) -> Settings:
    fields = {"status.podIP": "10.99.0.11"}
    return from_environment({e["name"]: _value(e, fields) for e in container(pod)["env"]})


def _value(variable: Json, fields: Mapping[str, str]) -> str:
    """Return what the kubelet sets; `fields` are those of the pod, where they matter."""
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    return fields.get(variable["valueFrom"]["fieldRef"]["fieldPath"], "n1")


def test_the_agent_has_these_rights_and_no_others() -> None:
    pod = agent()
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN"]},
        "seccompProfile": {"type": "RuntimeDefault"},
        "appArmorProfile": {"type": "Unconfined"},
        "seLinuxOptions": {"type": "spc_t", "level": "s0"},
    }
    assert {
        k for k in pod if k.startswith("host") or k in {"securityContext", "initContainers"}
    } == {"hostNetwork"}


def test_the_agent_asks_for_the_capabilities_that_the_chart_gives() -> None:
    added = container(agent())["securityContext"]["capabilities"]["add"]
    assert [f"CAP_{name}" for name in added] == list(CAPABILITIES)


def test_the_agent_sees_these_folders_of_the_node_and_no_others() -> None:
    pod = agent()
    assert mounts(pod) == MOUNTS
    propagated = {
        m["mountPath"]: m["mountPropagation"]
        for m in container(pod)["volumeMounts"]
        if "mountPropagation" in m
    }
    assert propagated == {"/run/netns": "HostToContainer"}


def test_each_mount_is_where_the_agent_looks_for_it() -> None:
    pod = agent()
    found = settings(pod)
    looked_for = {
        *(found.run, found.bin_folder, found.conf_folder),
        *(found.networkmanager, found.networkd, found.networkd_conf, found.udev),
        found.bus.parent,
    }
    places = {mount for _, _, mount, _ in mounts(pod)}
    assert {str(path) for path in looked_for} == places - {"/run/netns", f"{HOST_SYSCTLS}net"}


def test_without_the_system_bus_the_agent_does_not_see_it() -> None:
    pod = agent(systemBus=False, appArmorProfile={"type": "RuntimeDefault"})
    assert mounts(pod) == {m for m in MOUNTS if m[0] != "/run/dbus"}
    assert container(pod)["securityContext"]["appArmorProfile"] == {"type": "RuntimeDefault"}


def test_every_right_has_its_reason_on_the_page() -> None:
    rows = [line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if "|" in line]
    for name in container(agent())["securityContext"]["capabilities"]["add"]:
        assert f"`{name}`" in rows
    for folder, _, _, how in MOUNTS:
        assert f"`{folder}`, {how}" in rows
