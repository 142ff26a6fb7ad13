"""Read what a forecast needs: the pool, its nodes, all ENIs, the operator's rates."""

from datetime import datetime

from openeni_cli.cluster import SELECTOR_RELEASE, Cluster
from openeni_cli.failures import CommandError
from openeni_cli.plan.forecast import PlanFacts, Rates
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.meta import Json
from openeni_crds.names import DEPLOYMENTS, ENIPOOLS, ENIS, NODES
from openeni_kube.wire import format_time
from openeni_operator.core_objects import parse_node
from openeni_operator.settings import Settings, SettingsError, from_environment


def observe(cluster: Cluster, pool_name: str, now: datetime) -> PlanFacts:
    """Return the facts about a pool; "" is the only one there is. Raises CommandError."""
    pool = _pool(cluster.models(ENIPOOLS, ENIPool), pool_name)
    nodes = {node.name: node for node in map(parse_node, cluster.objects(NODES))}
    enis = tuple(cluster.models(ENIS, ENI))
    settings = _settings(cluster.objects(DEPLOYMENTS, labels=SELECTOR_RELEASE))
    rates = Rates(settings.cloud_attaches, settings.cloud_writes)
    return PlanFacts(pool, nodes, enis, rates, format_time(now))


def _pool(pools: list[ENIPool], name: str) -> ENIPool:
    names = ", ".join(sorted(pool.name for pool in pools)) or "none"
    found = [pool for pool in pools if name in ("", pool.name)]
    if not found:
        raise CommandError(f"there is no ENIPool {name!r}; there are: {names}")
    if len(found) > 1:
        raise CommandError(f"there are several ENIPools, choose one by --pool: {names}")
    return found[0]


def _settings(deployments: list[Json]) -> Settings:
    """Return the operator's settings, by its Deployment; the defaults where there is none."""
    for body in deployments:
        containers: list[Json] = body["spec"]["template"]["spec"]["containers"]
        listed: list[Json] = containers[0].get("env") or []
        try:
            return from_environment({e["name"]: e["value"] for e in listed if "value" in e})
        except SettingsError as error:
            raise CommandError(f"the operator's Deployment: {error}") from error
    return Settings()
