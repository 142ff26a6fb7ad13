"""The commands that operator and agents answer in their pods: `commands` registers them."""

import typer

from openeni_cli.diagnose import observe as diagnose_facts
from openeni_cli.diagnose import text as diagnose_text
from openeni_cli.in_pods import ask_operator
from openeni_cli.invocation import cluster_of, end
from openeni_cli.options import (
    CanaryOption,
    OfNodeOption,
    OutputOption,
    SweepDryRunOption,
    TimeoutOption,
)
from openeni_cli.output import Format, show
from openeni_cli.preflight import text as preflight_text
from openeni_cli.sweep import text as sweep_text
from openeni_kube.answers import FAILED, UNKNOWN, Preflight, SweepForecast


def diagnose(
    context: typer.Context,
    node: OfNodeOption = "",
    timeout: TimeoutOption = 120,
    output: OutputOption = Format.TEXT,
) -> None:
    """Compare objects, cloud and kernels, and show what differs and what to do.

    The operator compares ENIs and PodIPs with Neutron's ports and Nova's servers, each agent its
    kernel and its grants with them. What only one of two looks shows is left out, and so is what
    the objects themselves report to be in progress: `openeni status` has it. Nothing is changed.

    It runs in the pods of openeni, which takes the verbs get and create on pods/exec in their
    namespace. Whoever has them can read the cloud's credentials.
    """
    report = diagnose_facts.observe(cluster_of(context), node, timeout)
    show(report, output, diagnose_text.lines)
    end(good=not report.differences, known=not report.unread)


def preflight(
    context: typer.Context,
    node: CanaryOption = "",
    timeout: TimeoutOption = 600,
    output: OutputOption = Format.TEXT,
) -> None:
    """Check whether clouds and nodes are fit for the pools, with the operator's own credentials.

    It looks up what the pools name, and checks DHCP and SLAAC, the MTU, port security, quota, free
    addresses, Neutron's extensions, when the credentials expire, and each node's providerID. With
    --node it creates a port as an ENI of that node would have, attaches it to the node's server,
    detaches and deletes it: that shows whether the server has a slot, and what the project may do.
    Nothing else is changed.

    It runs in a pod of the operator, as `diagnose` does.
    """
    words = ("preflight", "--node", node) if node else ("preflight",)
    answer = ask_operator(cluster_of(context), words, timeout, Preflight)
    show(answer, output, preflight_text.lines)
    verdicts = {check.verdict for check in answer.checks}
    end(good=FAILED not in verdicts, known=UNKNOWN not in verdicts)


def sweep(
    context: typer.Context,
    dry_run: SweepDryRunOption = False,
    timeout: TimeoutOption = 120,
    output: OutputOption = Format.TEXT,
) -> None:
    """Show which ports of this cluster have no ENI, and what the operator's sweep does with them.

    It is the sweep's own look and its own rules, as if the looks before had shown the same. The
    operator sweeps by itself: this command only tells.

    It runs in a pod of the operator, as `diagnose` does.
    """
    if not dry_run:
        raise typer.BadParameter("only --dry-run is possible: the operator sweeps by itself")
    answer = ask_operator(cluster_of(context), ("sweep",), timeout, SweepForecast)
    show(answer, output, sweep_text.lines)
    end(
        good=not any(cloud.left or cloud.lost for cloud in answer.clouds),
        known=not any(cloud.error for cloud in answer.clouds),
    )
