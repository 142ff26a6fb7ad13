"""Enter the lab or a node: run a command there, on the caller's terminal."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from openeni_lab.cloud.access import client_environment
from openeni_lab.lab import Lab, NodeKind
from openeni_lab.machine.client import Machine

GUEST_SECONDS: Final = 3600.0  # timeout of a command on a VM node without a terminal


def enter(lab: Lab, node: str, argv: Sequence[str]) -> None:
    """Replace this process by a command in the lab or on a node (`node`, if it is not empty).

    It starts in the caller's folder, or in `/` where that does not exist.
    """
    variables = {**os.environ, **environment(lab)}
    if node and lab.kind is NodeKind.VM:
        sys.exit(_in_guest(lab.node(node).machine, argv))
    machine = lab.node(node).machine if node else lab.machine
    pid = machine.pid()
    into = ["nsenter", f"--target={pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    folder = _folder_there(Path(f"/proc/{pid}/root"))
    os.execvpe("nsenter", [*into, f"--wdns={folder}", "--", *argv], variables)  # noqa: S606


def become_kubectl(lab: Lab, arguments: Sequence[str]) -> None:
    """Replace this process by kubectl on the lab's cluster, from outside of the lab."""
    program = lab.built.bin("kubectl")
    own = {"KUBECONFIG": lab.layout.kubeconfig, "KUBECACHEDIR": lab.layout.kubectl_cache}
    variables = {**os.environ, **{name: str(path) for name, path in own.items()}}
    os.execve(program, [str(program), *arguments], variables)  # noqa: S606


def _folder_there(root: Path) -> Path:
    """Return the caller's folder if it exists below `root`, else `/`: a lab hides some folders."""
    try:
        folder = Path.cwd()
    except FileNotFoundError:  # it was removed
        return Path("/")
    return folder if (root / folder.relative_to("/")).is_dir() else Path("/")


def environment(lab: Lab) -> dict[str, str]:
    """Return an environment in which `openstack`, `kubectl` and `openeni` need no arguments."""
    clients = [lab.built.bin("kubectl").parent, lab.built.openstack_venv / "bin"]
    paths = [lab.built.path, *map(str, clients), os.environ.get("PATH", "")]
    own = str(Path(sys.executable).parent)  # has `openeni`; last, since it has a Python, too
    return {
        **client_environment(lab.layout),
        "KUBECONFIG": str(lab.control_plane.folder / "admin.kubeconfig"),
        "KUBECACHEDIR": str(lab.layout.kubectl_cache),
        "PATH": ":".join([*paths, "/usr/sbin", "/sbin", own]),
    }


def _in_guest(machine: Machine, argv: Sequence[str]) -> int:
    if sys.stdin.isatty():
        code = machine.run_on_terminal(argv, env={"TERM": os.environ.get("TERM", "dumb")})
    else:
        finished = machine.run(argv, stdin=sys.stdin.buffer.read(), timeout=GUEST_SECONDS)
        sys.stdout.buffer.write(finished.out)
        sys.stderr.buffer.write(finished.err)
        code = finished.code
    return code if code >= 0 else 128 - code
