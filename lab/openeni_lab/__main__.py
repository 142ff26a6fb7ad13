"""The command `openeni-lab`."""

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from typer.exceptions import TyperException

from openeni_lab import progress
from openeni_lab.enter import become_kubectl, enter
from openeni_lab.hypervisor.uml import GuestBootError
from openeni_lab.images.debian_archive import ArchiveError
from openeni_lab.invocation import command
from openeni_lab.kubernetes import dns
from openeni_lab.kubernetes.api import ApiError
from openeni_lab.kubernetes.images import ImageError
from openeni_lab.lab import Lab, NodeKind, load
from openeni_lab.layout import Layout, cache_folder
from openeni_lab.machine import enclosure
from openeni_lab.machine.client import MachineError
from openeni_lab.machine.enclosure import LabError
from openeni_lab.machine.exits import describe_exit
from openeni_lab.machine.steps import StepError
from openeni_lab.node.kernel import run_in_kernel
from openeni_lab.options import (
    DEFAULT,
    AllOption,
    CPUsOption,
    EmulatorOption,
    KeepOption,
    KindOption,
    LinesOption,
    MemoryOption,
    NameOption,
    NodeCountOption,
    NodeOption,
    SinceOption,
    YesOption,
)
from openeni_lab.prepare import stage
from openeni_lab.prepare.checks import find_problems
from openeni_lab.prepare.debian_packages import PackageError
from openeni_lab.product import installed_lab, next_steps, pods
from openeni_lab.product.chart import ChartError
from openeni_lab.product.demo import POOLS, DemoError, datapaths_of, show
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.tree_images import TreeImageError
from openeni_lab.programs import prepared
from openeni_lab.programs.cache import BuildError, size_mib
from openeni_lab.programs.prepared import NotPreparedError

# Their texts are for the user, and so are those of the operating system.
ERRORS: Final = (
    ApiError,
    ArchiveError,
    BuildError,
    ChartError,
    DemoError,
    GuestBootError,
    ImageError,
    LabError,
    MachineError,
    NotPreparedError,
    OSError,
    PackageError,
    StepError,
    TreeImageError,
    subprocess.TimeoutExpired,
)
# All words from the first argument on belong to the other program, even `--`.
PASS_ON: Final = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
}
LOGS: Final = ("logs/*.log", "nodes/*/logs/*.log", *pods.LOGS)  # in a lab's folder
INTERRUPTED: Final = 130  # typer's exit code after Ctrl-C, as a shell's

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run a real OpenStack and a real Kubernetes cluster on this machine, to try openeni.",
)
node_app = typer.Typer(help="Restart a node of the lab.")
app.add_typer(node_app, name="node")


@app.command()
def up(
    name: NameOption = DEFAULT,
    nodes: NodeCountOption = 2,
    kind: KindOption = NodeKind.AUTO,
    memory: MemoryOption = None,
    cpus: CPUsOption = None,
) -> None:
    """Start the lab with openeni in it, or continue an interrupted `up`."""
    wanted = _lab(name, nodes, kind, memory, cpus)
    with next_steps.removal_named(wanted.layout), progress.display() as display:
        api = installed_lab.up(wanted, display).api
        api.apply(dns.objects())
    first = () if api.items(POOLS) else (next_steps.first_pool(wanted.layout),)
    for line in (*first, *next_steps.commands(wanted.layout)):
        print(f"  {line}")


def _lab(name: str, nodes: int, kind: NodeKind, memory: int | None, cpus: float | None) -> Lab:
    """Return the lab that these options describe."""
    layout = Layout(name, nodes)
    decided = kind.decided(ipvlan=prepared.read(()).machine.ipvlan)
    return Lab(layout, decided, enclosure.limits(layout).changed(memory, cpus))


@app.command()
def demo(
    name: NameOption = DEFAULT,
    nodes: NodeCountOption = 2,
    kind: KindOption = NodeKind.AUTO,
    memory: MemoryOption = None,
    cpus: CPUsOption = None,
    *,
    since: SinceOption = None,
) -> None:
    """Run the demo: create pools and pods, test every path, leave the lab running."""
    lab = _lab(name, nodes, kind, memory, cpus)
    machine = prepared.read(()).machine
    modes = datapaths_of(lab.kind, ipvlan=machine.ipvlan)
    preparation = 0.0 if since is None else time.time() - since - machine.asked_seconds
    with next_steps.removal_named(lab.layout), progress.display() as display:
        if not show(lab, display, modes, Console(), preparation):
            raise DemoError(
                "a path FAILED, a count is not 0, or `openeni status` failed; the lab is still up: "
                f"see `{command('logs', lab.layout)}`; `{command('down', lab.layout)}` removes it"
            )


@app.command()
def check(
    name: NameOption = DEFAULT, everything: AllOption = False, emulator: EmulatorOption = False
) -> None:
    """List everything that this machine is missing. Changes nothing."""
    facts = stage.probe_machine(Layout(name), everything=everything, emulator=emulator)
    findings = find_problems(facts)
    for finding in findings:
        print(stage.line(finding).strip())
    if any(finding.stops for finding in findings):
        raise LabError("this machine cannot run a lab yet: see the list above")
    print(f"this machine can run a lab; `{command('prepare')}` installs and builds what it needs")


@app.command()
def prepare(
    name: NameOption = DEFAULT,
    everything: AllOption = False,
    emulator: EmulatorOption = False,
    yes: YesOption = False,
) -> None:
    """Install and build what labs need. Shows the plan and asks first."""
    ask = partial(_agreed, yes=yes)
    with progress.display() as display:
        stage.prepare(Layout(name), display, ask, everything=everything, emulator=emulator)


def _agreed(plan: str, *, yes: bool) -> bool:
    """Show the plan, and ask if there is a terminal."""
    print(
        f"openeni-lab will do this once on this machine:\n{textwrap.indent(plan, '  ')}", flush=True
    )
    return yes or not sys.stdin.isatty() or typer.confirm("Continue?", default=True)


cache_app = typer.Typer(help="Manage the cache of built programs.")
app.add_typer(cache_app, name="cache")


@cache_app.command("prune")
def prune() -> None:
    """Remove what this checkout does not use: old versions, unfinished builds, downloads."""
    with progress.display() as display:
        removed = stage.prune(display)
    for folder, mib in removed.items():
        print(f"{mib:8.0f} MiB  {folder}")
    print(f"removed {sum(removed.values()) / 1024:.1f} GiB")


@app.command(context_settings=PASS_ON)
def kernel(context: typer.Context, keep: KeepOption = None) -> None:
    """Run a command on a kernel with ipvlan: this machine's, or a user-mode kernel."""
    if not context.args:
        raise typer.BadParameter("no command was given")
    sys.exit(run_in_kernel(context.args, keep=keep.absolute() if keep else None))


@app.command()
def down(name: NameOption = DEFAULT) -> None:
    """Stop the lab and remove it."""
    layout = Layout(name)
    for line in next_steps.after_down(layout, removed=Lab(layout).down()):
        print(line)


@app.command()
def status(name: NameOption = DEFAULT) -> None:
    """Show the lab's programs, their unexpected exits, and the memory and disk in use."""
    lab = load(Layout(name))
    table = Table("where", "program", "state", "restarts")
    for where, machine in lab.machines.items():
        for program, process in machine.list().items():
            state = "runs" if process.running else describe_exit(process.exit_code or 0)
            table.add_row(where, program, state, "")
    installed = InstalledLab(lab)
    with suppress(ApiError, OSError):  # the programs above say why
        for found in pods.containers(installed.api):
            state = "ready" if found.ready else found.waiting or "not ready"
            table.add_row(found.node, f"pod {found.pod}", state, str(found.restarts))
    console = Console()
    console.print(table)
    for line in installed.unexpected_exits():
        console.print(f"unexpected exit: {line}", markup=False, soft_wrap=True)
    for part, mib in sorted(enclosure.memory(lab.layout).items()):
        console.print(f"memory of {part}: {mib:.0f} MiB")
    console.print(f"the lab may use {enclosure.limits(lab.layout).text}")
    console.print(f"disk of the lab: {size_mib(lab.layout.state):.0f} MiB ({lab.layout.state})")
    console.print(f"disk of the cache: {size_mib(cache_folder()):.0f} MiB ({cache_folder()})")


@app.command()
def logs(name: NameOption = DEFAULT, lines: LinesOption = 5) -> None:
    """Show the path and the last lines of each of the lab's logs."""
    layout = Layout(name)
    found = sorted(log for pattern in LOGS for log in layout.state.glob(pattern))
    if not found:
        raise LabError(f"there are no logs of a lab {name!r}; `{command('up', layout)}` creates it")
    for path in found:
        print(f"{path}:")
        with path.open(errors="replace") as file:
            print(textwrap.indent("".join(deque(file, lines)), "    "), end="")


@app.command("exec", context_settings=PASS_ON)
def execute(context: typer.Context, name: NameOption = DEFAULT, node: NodeOption = "") -> None:
    """Run a command in the lab (`openeni-lab exec -- openstack port list`) or on a node."""
    if not context.args:
        raise typer.BadParameter("no command was given")
    enter(load(Layout(name)), node, context.args)


@app.command()
def shell(name: NameOption = DEFAULT, node: NodeOption = "") -> None:
    """Open a shell in the lab, or on a node."""
    enter(load(Layout(name)), node, [shutil.which("bash") or "sh"])


@app.command(context_settings=PASS_ON)
def kubectl(context: typer.Context, name: NameOption = DEFAULT) -> None:
    """Run kubectl on the lab's cluster, whatever the shell's KUBECONFIG says."""
    become_kubectl(load(Layout(name)), context.args)


@app.command()
def reload(name: NameOption = DEFAULT) -> None:
    """Bring a running lab to the current code and chart: build, import, `helm upgrade`, wait."""
    with progress.display() as display:
        InstalledLab(load(Layout(name))).reload(display)


@node_app.command("restart")
def restart_node(node: Annotated[str, typer.Argument()], name: NameOption = DEFAULT) -> None:
    """Restart a node as a reboot would: its processes and /run are lost, its NICs stay."""
    installed = InstalledLab(load(Layout(name)))
    with progress.display() as display:
        installed.restart_node(node, display)


def main() -> None:
    """Run the command line. Expected errors end in one line and exit status 1."""
    if os.geteuid():
        sys.exit("openeni-lab: must run as root (sudo), to create network namespaces and cgroups")
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except TyperException as error:
        sys.exit(f"openeni-lab: {error.format_message()}")
    except ERRORS as error:
        sys.exit(f"openeni-lab: {error}")
    if code == INTERRUPTED:
        print("openeni-lab: interrupted; the same command continues", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
