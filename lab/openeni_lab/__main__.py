"""The command `openeni-lab`."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Final, cast

import typer
from rich.console import Console
from rich.table import Table

from openeni_lab import demonstration, enclosure, preparation, probe, progress
from openeni_lab import lab as labs
from openeni_lab.api import ApiError
from openeni_lab.builds import SETS, BuildError
from openeni_lab.chart import ChartError
from openeni_lab.checks import judge
from openeni_lab.debian import PackageError
from openeni_lab.demo import DemoError
from openeni_lab.enclosure import LabError
from openeni_lab.images import ImageError
from openeni_lab.kernel import run_in_kernel
from openeni_lab.lab import Kind, Lab
from openeni_lab.layout import Layout
from openeni_lab.machine import Machine, MachineError
from openeni_lab.openstack import client_environment
from openeni_lab.steps import StepError
from openeni_lab.uml import GuestError

# Each is text for the user, as is what the operating system says of files and programs.
ERRORS: Final = (
    ApiError,
    BuildError,
    ChartError,
    DemoError,
    GuestError,
    ImageError,
    LabError,
    MachineError,
    OSError,
    PackageError,
    StepError,
    subprocess.TimeoutExpired,
)
# Everything from the first word on is the other program's, its own `--` too.
PASS_ON: Final = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
}
INTERRUPTED: Final = 130  # what typer makes of Ctrl-C, as a shell tells it
GUEST_SECONDS: Final = 3600.0  # for a command on a VM node that is not on a terminal

# What typer raises for bad usage; it keeps this class of click's to itself.
USAGE: Final = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[2])

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A real OpenStack and a real Kubernetes cluster on this machine, to try openeni on.",
)
node_app = typer.Typer(help="One node of the lab.")
app.add_typer(node_app, name="node")


def _valid(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,15}", name):
        raise typer.BadParameter(f"{name!r} is not up to 16 of a to z, 0 to 9 and -")
    return name


Name = Annotated[str, typer.Option("--name", callback=_valid, help="Which lab.")]
NodeName = Annotated[str, typer.Option("--node", "-n", help="On a node, not in the lab itself.")]
NodeCount = Annotated[int, typer.Option("--nodes", min=1, max=20, help="How many.")]
NodeKind = Annotated[Kind, typer.Option("--kind", help="What a node is.")]
DEFAULT: Final = Layout().name


@app.command()
def up(
    name: Name = DEFAULT,
    nodes: NodeCount = 2,
    kind: NodeKind = Kind.AUTO,
) -> None:
    """Bring the lab up, or go on where it stopped."""
    wanted = Lab(Layout(name, nodes), kind.decided)
    with progress.shown() as shown:
        wanted.up(shown)
    print(f"export KUBECONFIG={wanted.layout.kubeconfig}")


@app.command()
def demo(name: Name = DEFAULT, nodes: NodeCount = 2, kind: NodeKind = Kind.AUTO) -> None:
    """Show the main job from nothing: pools, pods, every path. The lab stays up."""
    lab = Lab(Layout(name, nodes), kind.decided)
    modes = demonstration.modes_of(lab.kind, probe.has_ipvlan())
    with progress.shown() as shown:
        if not demonstration.show(lab, shown, modes, Console()):
            raise DemoError("not every line was ok; the lab is still up to look at")


@app.command()
def check(name: Name = DEFAULT) -> None:
    """What this machine lacks for a lab, everything at once."""
    findings = judge(probe.gather(Layout(name)))
    for finding in findings:
        print(preparation.line(finding).strip())
    if any(finding.stops for finding in findings):
        raise LabError("this machine is not ready")
    print("ready")


@app.command()
def build(name: Name = DEFAULT) -> None:
    """Build everything that labs, demo and benchmarks use, or what is missing of it."""
    with progress.shown() as shown:
        built = preparation.prepare(Layout(name), list(SETS), shown)
    if built.yardstick:
        print(f"kube-apiserver alone took {built.yardstick.seconds:.0f} s to build here")


@app.command(context_settings=PASS_ON)
def kernel(context: typer.Context) -> None:
    """Run a command on a kernel that has ipvlan: this one, or a user-mode kernel."""
    if not context.args:
        raise typer.BadParameter("no command was given")
    sys.exit(run_in_kernel(context.args))


@app.command()
def down(name: Name = DEFAULT) -> None:
    """Stop the lab and remove every trace of it."""
    Lab(Layout(name)).down()


@app.command()
def status(name: Name = DEFAULT) -> None:
    """What runs in the lab, and how much memory it takes."""
    lab = labs.load(Layout(name))
    table = Table("where", "program", "state")
    machines = {"lab": lab.machine, **{n: node.machine for n, node in lab.nodes.items()}}
    for where, machine in machines.items():
        for program, process in machine.list().items():
            ended = f"ended with {process.exit_code}"
            table.add_row(where, program, "runs" if process.running else ended)
    console = Console()
    console.print(table)
    for part, mib in sorted(enclosure.memory(lab.layout).items()):
        console.print(f"{part}: {mib:.0f} MiB")


@app.command("exec", context_settings=PASS_ON)
def execute(context: typer.Context, name: Name = DEFAULT, node: NodeName = "") -> None:
    """Run a command in the lab (`openeni-lab exec -- openstack port list`) or on a node."""
    if not context.args:
        raise typer.BadParameter("no command was given")
    _enter(labs.load(Layout(name)), node, context.args)


@app.command()
def shell(name: Name = DEFAULT, node: NodeName = "") -> None:
    """A shell in the lab, or on a node."""
    _enter(labs.load(Layout(name)), node, [shutil.which("bash") or "sh"])


@app.command(context_settings=PASS_ON)
def kubectl(context: typer.Context, name: Name = DEFAULT) -> None:
    """Run kubectl on the lab's cluster, whatever the shell's KUBECONFIG says."""
    lab = labs.load(Layout(name))
    program = lab.built.bin("kubectl")
    environment = {**os.environ, "KUBECONFIG": str(lab.layout.kubeconfig)}
    os.execve(program, [str(program), *context.args], environment)  # noqa: S606


@node_app.command("restart")
def restart(node: Annotated[str, typer.Argument()], name: Name = DEFAULT) -> None:
    """Restart a node as a reboot does: its processes and its /run are gone, its NICs are back."""
    lab = labs.load(Layout(name))
    with progress.shown() as shown:
        lab.restart_node(node, shown)


def _enter(lab: Lab, node: str, argv: Sequence[str]) -> None:
    """In place of this process, in the namespaces of the lab or of a node."""
    environment = {**os.environ, **_environment(lab)}
    if node and lab.kind is Kind.VM:
        sys.exit(_in_guest(lab.node(node).machine, argv))
    machine = lab.node(node).machine if node else lab.machine
    enter = ["nsenter", f"--target={machine.pid()}", "--mount", "--uts", "--ipc", "--net", "--pid"]
    os.execvpe("nsenter", [*enter, "--cgroup", "--", *argv], environment)  # noqa: S606


def _environment(lab: Lab) -> dict[str, str]:
    """Inside, OpenStack's and Kubernetes' clients need to be told nothing."""
    paths = [lab.built.path, str(lab.built.openstack_venv / "bin"), os.environ.get("PATH", "")]
    return {
        **client_environment(lab.layout),
        "KUBECONFIG": str(lab.control_plane.folder / "admin.kubeconfig"),
        "PATH": ":".join([*paths, "/usr/sbin", "/sbin"]),
    }


def _in_guest(machine: Machine, argv: Sequence[str]) -> int:
    if sys.stdin.isatty():
        code = machine.attend(argv, env={"TERM": os.environ.get("TERM", "dumb")})
    else:
        finished = machine.run(argv, stdin=sys.stdin.buffer.read(), timeout=GUEST_SECONDS)
        sys.stdout.buffer.write(finished.out)
        sys.stderr.buffer.write(finished.err)
        code = finished.code
    return code if code >= 0 else 128 - code


def main() -> None:
    """Failures of the machine or the user end in one line and exit status 1, never a traceback."""
    if os.geteuid():
        sys.exit("openeni-lab: needs root: it makes network namespaces and cgroups")
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except USAGE as error:
        sys.exit(f"openeni-lab: {error.format_message()}")
    except ERRORS as error:
        sys.exit(f"openeni-lab: {error}")
    if code == INTERRUPTED:
        print("openeni-lab: interrupted; `up` goes on, `down` removes the lab", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
