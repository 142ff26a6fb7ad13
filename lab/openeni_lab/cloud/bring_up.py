"""The steps that bring up the lab's cloud: template, files, services, servers, the remote VM."""

import json
from pathlib import Path
from typing import Any, Final

from openeni_lab import layout
from openeni_lab.cloud import template
from openeni_lab.cloud.access import servers, servers_file
from openeni_lab.cloud.cloud_layout import CloudLayout
from openeni_lab.cloud.openstack import OpenStack
from openeni_lab.hypervisor import network
from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.hypervisor.records import FIRST_SLOT, MachineRecord
from openeni_lab.layout import Layout
from openeni_lab.machine.client import Machine
from openeni_lab.machine.steps import Step

REMOTE_NIC: Final = f"ens{FIRST_SLOT}"


def steps(lab: Layout, machine: Machine, venv: Path) -> list[Step]:
    """Return the steps of the cloud, after `LabNetwork.steps`; `venv` has OpenStack installed.

    They take ten seconds, and a minute more the first time, when the template is made.
    """
    stack = OpenStack(_cloud(lab, venv), machine, lab.logs)
    wires = LabNetwork(lab, machine)
    folder = template.template_folder(lab, venv)
    return [
        template_step(lab, machine, venv),
        Step(
            "OpenStack's files",
            lab.clouds_yaml.exists,
            lambda: _write(lab, machine, stack, folder),
            1,
        ),
        Step("OpenStack", stack.ready, lambda: _start(stack), 8),
        Step("servers", servers_file(lab).exists, lambda: _boot(lab, stack), 6),
        Step(
            "remote VM",
            lambda: machine.running(wires.server(layout.REMOTE_VM)),
            lambda: _run_remote(lab, wires),
            0.3,
        ),
    ]


def template_step(lab: Layout, machine: Machine, venv: Path) -> Step:
    """Return the step that makes the template for this many nodes unless there is one."""
    folder = template.template_folder(lab, venv)
    return Step(
        "OpenStack's template",
        lambda: folder.exists() or _cloud(lab, venv).secrets_file.exists(),
        lambda: _make_template(lab, machine, venv, folder),
        60,
    )


def _cloud(lab: Layout, venv: Path) -> CloudLayout:
    return CloudLayout(lab.state / "openstack", venv, lab.state, _hosts(lab))


def _hosts(lab: Layout) -> tuple[str, ...]:
    return tuple(node.compute_host for node in lab.nodes)


def _make_template(lab: Layout, machine: Machine, venv: Path, folder: Path) -> None:
    cloud = CloudLayout(lab.state / "openstack-new", venv, lab.state, _hosts(lab))
    template.make(lab, machine, cloud, folder)


def _write(lab: Layout, machine: Machine, stack: OpenStack, folder: Path) -> None:
    """Write OpenStack's files; clouds.yaml comes last, so that the step is then complete."""
    if not stack.cloud.secrets_file.exists():
        template.copy(folder, stack.cloud.folder, machine)
    stack.write(stack.secrets())
    lab.clouds_yaml.unlink(missing_ok=True)
    lab.clouds_yaml.symlink_to(stack.clouds_yaml)


def _start(stack: OpenStack) -> None:
    stack.start_database()
    stack.start()
    stack.wait()


def _boot(lab: Layout, stack: OpenStack) -> None:
    wanted = [
        _server(node.name, layout.NODES_NETWORK, node.zone, node.address) for node in lab.nodes
    ]
    remote = (layout.REMOTE_VM, layout.PODS_NETWORK, lab.nodes[0].zone)
    wanted.append(_server(*remote, network.REMOTE_ADDRESS, network.REMOTE_ADDRESS_V6))
    found = stack.seed("servers", {"servers": wanted})
    draft = servers_file(lab).with_suffix(".partial")
    draft.write_text(json.dumps(found, indent=1))
    draft.rename(servers_file(lab))


def _server(name: str, on: str, zone: str, *addresses: str) -> dict[str, Any]:
    return {"name": name, "network": on, "zone": zone, "addresses": addresses}


def _run_remote(lab: Layout, wires: LabNetwork) -> None:
    """Start the machine of the server `remote`: a namespace with its NIC and an HTTP server."""
    name = layout.REMOTE_VM
    path = wires.make_host(name)
    record = MachineRecord(name, servers(lab)[name]["id"], "namespace", netns=path)
    wires.hypervisor("power-on", stdin=record.encoded)
    wires.configure_host(name, REMOTE_NIC, network.REMOTE)
    wires.serve(name)
