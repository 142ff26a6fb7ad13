"""What every command has of its invocation: the cluster that the options name, and its end."""

from dataclasses import dataclass

import typer

from openeni_cli.cluster import Cluster, Connector
from openeni_kube.command_line import ExitCode


@dataclass(frozen=True)
class Target:
    """The cluster that the options name; a command that needs none does not connect."""

    connect: Connector
    kubeconfig: str
    context: str

    def cluster(self) -> Cluster:
        return self.connect(self.kubeconfig, self.context)


def cluster_of(context: typer.Context) -> Cluster:
    """Connect to the cluster. Raises CommandError."""
    target: Target = context.obj
    return target.cluster()


def end(*, good: bool, known: bool = True) -> None:
    """End the command: with a bad answer, or without a whole one, by an exit code of its own."""
    if not good:
        raise typer.Exit(ExitCode.FOUND)
    if not known:
        raise typer.Exit(ExitCode.UNAVAILABLE)
