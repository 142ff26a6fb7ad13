"""Arguments and options of the command `openeni`, each written once."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from openeni_cli.output import Format


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no IP address") from None


def _pod(text: str) -> str:
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise typer.BadParameter(f"{text!r} must be NAMESPACE/NAME, such as shop/web-0")
    return text


def _more(text: str) -> str:
    if not text.removeprefix("+").isdigit():
        raise typer.BadParameter(f"{text!r} must be a number, such as +50")
    return text.removeprefix("+")


KubeconfigOption = Annotated[
    str,
    typer.Option(
        metavar="FILE", help="The kubeconfig; otherwise $KUBECONFIG, then ~/.kube/config."
    ),
]
ContextOption = Annotated[
    str, typer.Option("--context", metavar="NAME", help="Its context; otherwise the current one.")
]
VersionOption = Annotated[
    bool, typer.Option("--version", help="Print the version of this command and exit.")
]
OutputOption = Annotated[
    Format, typer.Option("--output", "-o", metavar="|".join(Format), help="The form of the report.")
]
PodArgument = Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", callback=_pod)]
AddressArgument = Annotated[str, typer.Argument(metavar="ADDRESS", callback=_address)]
AtOption = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        help="Ask about this time: 2026-11-24T14:03Z, or 14:03 for the last time it was that. "
        "Without a zone it is UTC.",
    ),
]
LogOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="Answer from this log of the agents alone, - for standard input; may be repeated.",
    ),
]
HistoryOption = Annotated[
    bool, typer.Option("--history", help="Show everything that the agents' logs have about it.")
]
NodesOption = Annotated[
    str, typer.Option(metavar="+N", callback=_more, help="How many nodes are to come.")
]
PodsOption = Annotated[int, typer.Option(min=0, metavar="N", help="How many pods are to come.")]
PoolOption = Annotated[
    str, typer.Option(metavar="NAME", help="The ENIPool; otherwise the only one.")
]
PortsLeftOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Ports left in the project's quota: `openstack quota show --usage`.",
    ),
]
FileOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The archive to write; it must not exist.")
]
AgentsOption = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", help="Logs of so many agents, those of nodes with problems first."
    ),
]
TailOption = Annotated[
    int, typer.Option(min=1, metavar="N", help="The last so many lines of each log.")
]
CredentialNameOption = Annotated[
    str, typer.Option("--name", metavar="NAME", help="What the credential is to be called.")
]
RoleOption = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        metavar="NAME",
        help="A role that it is to have; otherwise all of yours. May be repeated.",
    ),
]
NodeArgument = Annotated[str, typer.Argument(metavar="NODE")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Do not cordon the node.")]
WaitOption = Annotated[
    int,
    typer.Option(
        min=0, metavar="SECONDS", help="Wait so long until a person can go on, or all is done."
    ),
]
OfNodeOption = Annotated[
    str, typer.Option("--node", metavar="NODE", help="The kernel of this node alone.")
]
CanaryOption = Annotated[
    str, typer.Option("--node", metavar="NODE", help="Try a port on this node.")
]
SweepDryRunOption = Annotated[bool, typer.Option("--dry-run", help="Tell only; it must be given.")]
TimeoutOption = Annotated[
    int, typer.Option(min=1, metavar="SECONDS", help="Wait so long for each pod's answer.")
]
