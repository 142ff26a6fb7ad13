"""What the chart's roles give, besides what the attacks show that they do not."""

import pytest

from openeni_crds.names import BUNDLE_VERSION, GROUP, Kind
from openeni_operator.process.crd_version import installed_versions
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


def test_the_operator_may_read_the_version_of_the_crds(cluster: Cluster) -> None:
    versions = installed_versions(cluster.account("openeni-operator"))
    assert set(versions.values()) == {BUNDLE_VERSION}
    assert len(versions) == 3
