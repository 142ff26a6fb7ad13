"""Render the answer of `openeni sweep --dry-run` as text. Pure."""

from collections.abc import Iterator

from openeni_cli.output import Line, bold, counted
from openeni_kube.answers import CloudSweep, SweepForecast


def lines(answer: SweepForecast) -> Iterator[Line]:
    """Yield the lines: for each cloud what is left over, and what the sweep would do with it."""
    if not answer.clouds:
        yield bold("no cloud has an ENIPool or an ENI")
    for cloud in answer.clouds:
        yield from _cloud(cloud)


def _cloud(cloud: CloudSweep) -> Iterator[Line]:
    if cloud.error:
        yield bold(f"cloud {cloud.cloud}: not known: {cloud.error}")
        return
    left = len(cloud.left)
    said = f"{counted(left, 'port')} left over" if left else "no port is left over"
    yield bold(f"cloud {cloud.cloud}: {said}")
    yield f"  {cloud.ports} ports of this cluster, {cloud.with_eni} have an ENI"
    if cloud.message:
        yield f"  {cloud.message}"
    for port in cloud.deletions:
        yield f"  would be deleted: {port}"
    for eni in cloud.lost:
        yield f"  no port is listed for ENI {eni}"
