"""Tell what the sweep of orphaned ports would do, by the sweep's own look and rules."""

from collections.abc import Callable
from dataclasses import replace

from openeni_kube.answers import CloudSweep, SweepForecast
from openeni_kube.clock import now_text
from openeni_kube.store import Store
from openeni_operator.ask.cluster import list_cluster
from openeni_operator.ask.patience import patiently
from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.errors import CloudError
from openeni_operator.settings import OrphanMode
from openeni_operator.sweep.observe import Look, Sources, look
from openeni_operator.sweep.plan import LOOK_INTERVAL, plan
from openeni_operator.sweep.report import ports_owned


def forecast_sweep(
    store: Store, cloud: Callable[[str], Cloud], own: str, mode: OrphanMode
) -> SweepForecast:
    """Return what the sweep would do in each cloud; `own` is the cluster's ID.

    Raises StoreError.
    """
    state = list_cluster(store).state
    sources = Sources(state, store, own, now_text)
    found: list[CloudSweep] = []
    for name in sorted(state.clouds()):
        paused = any(pool.spec.paused for pool in state.pools() if pool.spec.cloud == name)
        try:
            seen = patiently(look, sources, patiently(cloud, name), name)
        except CloudError as error:
            found.append(CloudSweep(name, mode.value, error=error.message))
        else:
            found.append(forecast(name, seen, mode, paused=paused))
    return SweepForecast(tuple(found))


def forecast(name: str, seen: Look, mode: OrphanMode, *, paused: bool) -> CloudSweep:
    """Return what the sweep would do if its looks before had shown the same."""
    lost = {eni: LOOK_INTERVAL for eni, _ in seen.lost}
    ports = (replace(port, agreed_for=LOOK_INTERVAL) for port in seen.ports)
    planned = plan(ports, mode, lost, paused=paused)
    owned = ports_owned(planned)
    return CloudSweep(
        name,
        mode.value,
        planned.port_count,
        planned.with_eni,
        planned.deletions,
        tuple(sorted(port for ids in planned.ports.values() for port in ids)),
        owned.message if owned else "",
        planned.enis,
    )
