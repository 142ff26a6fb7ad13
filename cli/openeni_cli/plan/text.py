"""Render the report of `openeni plan` as text. Pure."""

from collections.abc import Iterator

from openeni_cli.output import Line, bold
from openeni_cli.plan.report import PlanReport


def lines(report: PlanReport) -> Iterator[Line]:
    """Yield the lines: whether it fits, what is needed, what stands in the way."""
    what = f"{report.new_nodes} more nodes and {report.pods} more pods on pool {report.pool}"
    yield bold(f"{what}: {'fits' if report.fits else 'DOES NOT FIT'}")
    yield f"  nodes of the pool, then      {report.nodes}"
    yield f"  more ports                   {report.ports}, {_quota(report)}"
    yield f"  more addresses for pods      {report.addresses}, and one for each port"
    for need in report.subnets:
        free = "not known yet" if need.free is None else f"{need.free} at most"
        yield f"  {need.family} addresses of subnets    {need.needed} needed, free: {free}"
    yield f"  NICs on one server           {report.most_nics} at most, besides its own"
    basis = "as ENIs took so far" if report.measured else "assumed: no ENI has been measured"
    yield (
        f"  until ready                  {report.seconds / 60:.0f} min, at the operator's rates "
        f"and {report.seconds_per_eni:.0f} s for an ENI ({basis})"
    )
    if report.unserved_pods:
        why = ", ".join(report.limits)
        yield f"{report.unserved_pods} pods get no address because of {why}: raise it, or add nodes"
    if report.unplaced_pods:
        yield f"{report.unplaced_pods} pods find no node: the nodes' allocatable pods are used up"
    yield from _shortages(report)


def _quota(report: PlanReport) -> str:
    if report.ports_left is None:
        return "quota not checked: see `openstack quota show --usage` and give --ports-left"
    return f"the quota has {report.ports_left} left"


def _shortages(report: PlanReport) -> Iterator[str]:
    for need in report.subnets:
        if need.free is not None and need.needed > need.free:
            lacking = need.needed - need.free
            yield f"{need.family}: {lacking} addresses are lacking: add a subnet to spec.subnets"
    if report.ports_left is not None and report.ports > report.ports_left:
        lacking = report.ports - report.ports_left
        yield (
            f"{lacking} ports are lacking: ask for a higher port quota, or raise "
            "spec.capacity.addressesPerENI of the pool"
        )
