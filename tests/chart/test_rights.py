"""What the chart's roles give, besides what the attacks show that they do not."""

from datetime import UTC, datetime

import pytest

from openeni_crds.meta import ObjectMeta
from openeni_crds.names import (
    CONTROLLER_OPERATOR,
    ENIPOOLS,
    EVENTS,
    GROUP,
    PODIPS,
    Kind,
)
from openeni_kube.event_series import EventType, Reporter
from openeni_kube.events import EventRecorder
from openeni_kube.store import NotFoundError, StoreError
from openeni_lab.product.chart import NAMESPACE
from openeni_nodeagent.cluster.watches import Caches
from openeni_operator.cluster_state import WATCHED_KINDS
from openeni_operator.hooks.installation import Installation, observe
from openeni_operator.process.crd_version import OWN, installed_versions
from openeni_operator.resync import KOPF_KINDS
from openeni_testing.admission.cluster import Cluster
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.cluster

ROLES = Kind("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
USERS = ("view", "edit", "admin")


def verbs(cluster: Cluster, role: str) -> dict[str, set[str]]:
    """Return what a role gives on openeni's kinds."""
    found: dict[str, set[str]] = {}
    for rule in cluster.admin.get(ROLES, role)["rules"] or ():
        if rule.get("apiGroups") == [GROUP]:
            for resource in rule["resources"]:
                found.setdefault(resource, set()).update(rule["verbs"])
    return found


def test_who_may_view_may_see_openenis_objects_and_who_may_edit_may_do_no_more(
    cluster: Cluster,
) -> None:
    with cluster.server.controllers("clusterrole-aggregation-controller"):
        wait_for(lambda: all(verbs(cluster, r) for r in USERS), "the roles are aggregated")
    seen = {"get", "list", "watch"}
    for role in USERS:
        assert verbs(cluster, role) == dict.fromkeys(("enipools", "enis", "podips"), seen), role


def test_the_operator_may_get_what_its_watches_may_miss(cluster: Cluster) -> None:
    operator = cluster.account("openeni-operator")
    for kind in KOPF_KINDS:
        assert operator.list_versions(kind) == cluster.admin.list_versions(kind)
        with pytest.raises(NotFoundError):
            operator.get(kind, "nowhere")


def test_operator_and_agent_may_get_list_and_watch_what_they_have_informers_of(
    cluster: Cluster,
) -> None:
    """An informer gets its witness: refused, it would open no watch until it has been silent."""
    operator, agent = cluster.account("openeni-operator"), cluster.account("openeni-agent")
    of_agent = {cache.kind for cache in vars(Caches()).values()}
    for store, kinds in ((operator, {*WATCHED_KINDS}), (agent, of_agent)):
        for kind in kinds:
            store.watch(kind, store.list(kind).resource_version, seconds=1)
            with pytest.raises(NotFoundError):
                store.get(kind, "nowhere", "default" if kind.namespaced else "")


def test_the_operator_may_read_the_version_of_the_crds(cluster: Cluster) -> None:
    versions = installed_versions(cluster.account("openeni-operator"))
    assert versions == OWN
    assert len(versions) == 3


def test_helms_test_may_see_what_it_asks_for(cluster: Cluster) -> None:
    found = observe(cluster.account("openeni-operator"), NAMESPACE)
    assert found == Installation()  # this API server has no pods


def test_the_operator_may_record_events_and_their_series_in_every_namespace(
    cluster: Cluster,
) -> None:
    store = cluster.account("openeni-operator")
    recorder = EventRecorder(
        store,
        lambda: 0.0,
        lambda: datetime.now(UTC),
        Reporter(CONTROLLER_OPERATOR, "operator-5d1b"),
    )
    recorder.start()
    for kind, namespace in ((ENIPOOLS, ""), (PODIPS, NAMESPACE)):
        metadata = ObjectMeta(name="of-rights", namespace=namespace, uid="1")
        for _ in range(2):
            recorder.record(kind, metadata, EventType.NORMAL, "Ready", note="", action="Test")
    recorder.stop(60)
    assert set(recorder.dropped().values()) == {0}
    listed = cluster.admin.list(EVENTS).items
    found = [e for e in listed if e["regarding"].get("name") == "of-rights"]
    assert {e["metadata"]["namespace"] for e in found} == {"default", NAMESPACE}
    assert all(e["series"]["count"] == 2 for e in found)
    for event in found:
        meta = event["metadata"]
        with pytest.raises(StoreError, match="forbidden"):
            store.delete(EVENTS, meta["name"], meta["namespace"])
        cluster.admin.delete(EVENTS, meta["name"], meta["namespace"])
