"""The commands of `openeni`: read, decide, show, and say by the exit code what was found."""

import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import typer

from openeni_cli.bundle import archive
from openeni_cli.bundle import text as bundle_text
from openeni_cli.bundle.collect import Bounds, Collector
from openeni_cli.credentials.rules import RULES
from openeni_cli.credentials.rules import lines as credential_lines
from openeni_cli.drain import observe as drain_facts
from openeni_cli.drain import text as drain_text
from openeni_cli.drain.steps import Stage, is_done, look
from openeni_cli.invocation import Target, cluster_of, end
from openeni_cli.options import (
    AddressArgument,
    AgentsOption,
    AtOption,
    ContextOption,
    CredentialNameOption,
    DryRunOption,
    FileOption,
    HistoryOption,
    KubeconfigOption,
    LogOption,
    NodeArgument,
    NodesOption,
    OutputOption,
    PodArgument,
    PodsOption,
    PoolOption,
    PortsLeftOption,
    RoleOption,
    TailOption,
    VersionOption,
    WaitOption,
)
from openeni_cli.output import Format, show
from openeni_cli.plan import observe as plan_facts
from openeni_cli.plan import text as plan_text
from openeni_cli.plan.forecast import Demand, forecast
from openeni_cli.pod_trace import observe as trace_facts
from openeni_cli.pod_trace import text as trace_text
from openeni_cli.pod_trace.stations import trace
from openeni_cli.questions import diagnose, preflight, sweep
from openeni_cli.status import observe as status_facts
from openeni_cli.status import text as status_text
from openeni_cli.times import parse_moment
from openeni_cli.whois import observe as whois_facts
from openeni_cli.whois import text as whois_text
from openeni_cli.whois.answer import Verdict
from openeni_crds.names import BUNDLE_VERSION

POLL_SECONDS: Final = 2.0

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="See what openeni does in a cluster, and why. For administrators with a kubeconfig.",
)
trace_app = typer.Typer(help="Follow one thing through all its stations.")
app.add_typer(trace_app, name="trace")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    kubeconfig: KubeconfigOption = "",
    context_name: ContextOption = "",
    version: VersionOption = False,
) -> None:
    """See what openeni does in a cluster, and why. For administrators with a kubeconfig."""
    if version:
        typer.echo(f"openeni {BUNDLE_VERSION}")
        raise typer.Exit
    context.obj = Target(context.obj, kubeconfig, context_name)


@app.command()
def status(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """Show problems first: each with its reason, since when, and what to do.

    What may still come right by itself is listed apart for five minutes.
    """
    report = status_facts.observe(cluster_of(context), datetime.now(UTC))
    show(report, output, status_text.lines)
    end(good=not report.problems)


@trace_app.command("pod")
def trace_pod(context: typer.Context, pod: PodArgument, output: OutputOption = Format.TEXT) -> None:
    """Show each station of a pod's address with its time, and the one where it waits."""
    namespace, _, name = pod.partition("/")
    report = trace(trace_facts.observe(cluster_of(context), namespace, name))
    show(report, output, trace_text.lines)
    end(good=not report.stands_at)


@app.command()
def whois(
    context: typer.Context,
    address: AddressArgument,
    *,
    at: AtOption = "",
    log: LogOption = None,
    history: HistoryOption = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Tell which pod has an address, or had it.

    About the past the agents' logs are asked, which reach as far back as the nodes keep them; a
    log collector's files can be given instead. Standard input takes lines of any program that
    prints them, with or without what stands before the JSON.
    """
    now = datetime.now(UTC)
    moment = parse_moment(at, now) if at else None
    if at and (moment is None or moment > now):
        raise typer.BadParameter(f"--at: {at!r} is no past time such as 2026-11-24T14:03Z or 14:03")
    if log:
        report = whois_facts.ask_files(address, moment, log)
    else:
        report = whois_facts.ask_cluster(cluster_of(context), address, moment, history=history)
    show(report, output, whois_text.lines)
    end(good=report.verdict not in {Verdict.NOBODY, Verdict.UNKNOWN})


@app.command()
def plan(
    context: typer.Context,
    *,
    nodes: NodesOption = "0",
    pods: PodsOption = 0,
    pool: PoolOption = "",
    ports_left: PortsLeftOption = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Forecast what more nodes and pods take: ports, addresses, NICs, minutes until ready.

    The operator's own planning decides, from what each node has now. Pods are spread evenly; those
    that a node has without an address of the pool are not counted.
    """
    facts = plan_facts.observe(cluster_of(context), pool, datetime.now(UTC))
    report = forecast(facts, Demand(int(nodes), pods, ports_left))
    show(report, output, plan_text.lines)
    end(good=report.fits)


@app.command("support-bundle")
def support_bundle(
    context: typer.Context,
    file: FileOption = None,
    agents: AgentsOption = 20,
    tail: TailOption = 20000,
    output: OutputOption = Format.TEXT,
) -> None:
    """Write a tar.gz of openeni's objects, events, workloads and logs, for somebody who helps.

    Secrets are not read, and what looks like a key, a token or a password is removed. The bundle
    names pods, nodes and addresses. What may not be read is left out, and listed.
    """
    now = datetime.now(UTC)
    path = file or Path(f"openeni-support-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    collector = Collector(cluster_of(context), Bounds(agents, tail), now)
    archive.write(path, collector.collect(), now)
    typer.echo(f"wrote {path}", err=True)
    show(collector.manifest(), output, bundle_text.lines)
    end(good=not collector.failures)


@app.command()
def credentials(
    name: CredentialNameOption = "openeni",
    role: RoleOption = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Print the command that creates a credential for the operator, with access rules.

    The rules permit the operator's own calls and no other, so that whoever gets hold of the
    credential can delete no server, network or security group. Run the command as a user of the
    project of the nodes, and put what it prints into clouds.yaml. `-o json` prints the rules alone.

    Neutron and Nova need `service_type` (network, compute) in their section [keystone_authtoken];
    without it they refuse credentials with access rules. Nova has to send a service token with its
    own calls of Neutron (section [service_user]). No cluster is asked; the rules are those of the
    release of this command, so use that of the operator.
    """
    show(RULES, output, partial(credential_lines, name, role or ()))


@app.command("drain-node")
def drain_node(
    context: typer.Context,
    node: NodeArgument,
    dry_run: DryRunOption = False,
    wait: WaitOption = 0,
    output: OutputOption = Format.TEXT,
) -> None:
    """Cordon a node that is to go, and say what is left to do before it may be removed.

    `kubectl drain` evicts the pods; those of DaemonSets, which it leaves, end with the node. Run
    this again after the node was removed: it then tells whether its ENIs and ports have gone.
    """
    cluster, deadline = cluster_of(context), time.monotonic() + wait
    facts = drain_facts.observe(cluster, node)
    drain_facts.check(facts)
    if not dry_run:
        drain_facts.cordon(cluster, facts)
    report = look(drain_facts.observe(cluster, node))
    while not is_done(report) and report.stage is not Stage.SCHEDULABLE:
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
        report = look(drain_facts.observe(cluster, node))
    show(report, output, drain_text.lines)
    end(good=is_done(report))


for question in (diagnose, preflight, sweep):
    app.command()(question)
