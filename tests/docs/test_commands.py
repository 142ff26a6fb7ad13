"""Every command on every page is one that exists, and every name of openeni's is known."""

import inspect
import json
import re
from pathlib import Path
from typing import Any, Final, cast

import pytest
import yaml

from openeni_crds.conditions import Reason, Type
from openeni_crds.names import ENIPOOLS
from openeni_docs import events, metrics
from openeni_nodeagent.grants import grant_log
from openeni_testing.pages.blocks import (
    CURRENT,
    Command,
    blocks,
    commands,
    commands_of_page,
    name_of,
)
from openeni_testing.pages.command_checks import problems
from openeni_testing.pages.schemas import KNOWN, SCHEMAS, unknown_keys

# The label by which a node leaves a pool is people's own: docs/migration.md.
EXAMPLES: Final = {"openeni.io/leave"}
# Words such as `SubnetExhausted`: of conditions, events, alerts, the log of grants, of the kinds'
# fields and values, and of Kubernetes.
VOCABULARY: Final = {
    *Reason,
    *Type,
    *re.findall(r"\w+", json.dumps([*SCHEMAS.values()])),
    *re.findall(r"\w+", events.page() + metrics.page()),
    *re.findall(r"\w+", inspect.getsource(grant_log)),
    *(
        "ClusterCIDR",
        "FailedMount",
        "HostToContainer",
        "IfNotPresent",
        "ImagePullBackOff",
        "NoSchedule",
        "NodeCIDR",
    ),
    "OverQuota",  # of Neutron
}
each_page = pytest.mark.parametrize("page", CURRENT, ids=name_of)


@each_page
def test_every_command_exists_with_its_options_fields_and_targets(page: Path) -> None:
    assert [problem for command in commands_of_page(page) for problem in problems(command)] == []


@each_page
def test_every_name_in_openenis_domain_is_one_that_the_code_has(page: Path) -> None:
    found = set(re.findall(r"(?<![\w.])(?:\w[\w-]*\.)?openeni\.io/[\w-]*\w", page.read_text()))
    assert sorted(found - KNOWN - EXAMPLES) == []


@each_page
def test_every_reason_and_every_value_in_the_text_is_one_that_the_code_has(page: Path) -> None:
    found = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][A-Za-z]*)+)`", page.read_text()))
    assert sorted(found - VOCABULARY) == []


@each_page
def test_every_pool_in_yaml_has_fields_of_its_kind(page: Path) -> None:
    unknown: list[str] = []
    for block in blocks(page.read_text()):
        if block.language == "yaml" and is_pool(body := yaml.safe_load(block.text)):
            unknown += unknown_keys(ENIPOOLS, body)
    assert unknown == []


def is_pool(body: Any) -> bool:
    """Return whether the text is an ENIPool, or the part of one that a page is about."""
    found = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    return found.get("kind") == "ENIPool" or [*found] == ["spec"]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("kubectl get enipols", "there is no kind 'enipols'"),
        ("kubectl fetch eni", "kubectl has no 'fetch'"),
        ("kubectl get eni --field-selector spec.node=n1", "no selectable field 'spec.node'"),
        ("kubectl wait --for=condition=Perfect enipool/pods", "there is no condition 'Perfect'"),
        ("kubectl get eni -o jsonpath='{.status.port.addrs}'", "ENI has no .status.port.addrs"),
        (
            """kubectl patch enipool p -p '{"spec": {"pause": true}}'""",
            "ENIPool has no .spec.pause",
        ),
        (
            """kubectl patch enipool p --type=json -p '[{"op": "add", "path": "/spec/nets/-"}]'""",
            "ENIPool has no /spec/nets/-",
        ),
        ("helm instal openeni helm/openeni", "helm has no 'instal'"),
        ("helm install openeni helm/eni", "there is no chart helm/eni"),
        ("openeni stat", "openeni has no command 'stat'"),
        ("openeni plan --node +5", "it has no option --node"),
        ("make al", "there is no target 'al'"),
        ("openstack port make", "is not listed"),
        ("openstack port create --net pods p", "it has no option --net"),
        ("true; kubeclt get pods", "the program 'true' is not known"),
        ("echo $(kubectl get enis | awk '{print}'; kubectl get nope)", "there is no kind 'nope'"),
    ],
)
def test_what_does_not_exist_is_found(script: str, problem: str) -> None:
    found = [text for command in commands(script) for text in problems(command)]
    assert any(problem in text for text in found), found


def test_a_script_is_taken_apart_as_a_shell_does() -> None:
    script = """kubectl get eni \\
      -o name | xargs -I ENI kubectl delete ENI   # all of them
    a=1 helm list > out.txt && kubectl patch enipool x -p '{"spec":
      {"paused": true}}'
    for name in a b; do make $name; done
    """
    assert list(commands(script)) == [
        Command(("kubectl", "get", "eni", "-o", "name")),
        Command(("kubectl", "delete", "ENI")),
        Command(("helm", "list")),
        Command(("kubectl", "patch", "enipool", "x", "-p", '{"spec":\n      {"paused": true}}')),
        Command(("make", "$name")),
    ]
