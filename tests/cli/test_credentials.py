"""`openeni credentials`: the command that creates the operator's credential."""

import json
import shlex

import pytest

from openeni_operator.cloud.access_rules import ACCESS_RULES
from openeni_testing.cli_cluster import CliCluster

Capture = pytest.CaptureFixture[str]
WANTED = [{"service": r.service, "method": r.method, "path": r.path} for r in ACCESS_RULES]


def test_the_command_can_be_pasted_into_a_shell(capsys: Capture) -> None:
    cluster = CliCluster()
    assert cluster.run("credentials", "--name", "prod's", "--role", "member", "--role", "b") == 0
    (line,) = capsys.readouterr().out.splitlines()
    words = shlex.split(line)
    assert words[:6] == [
        "openstack",
        "application",
        "credential",
        "create",
        "prod's",
        "--restricted",
    ]
    assert words[6:10] == ["--role", "member", "--role", "b"]
    assert words[10] == "--access-rules"
    assert json.loads(words[11]) == WANTED
    assert cluster.store.asked == set()


def test_json_is_what_access_rules_reads_from_a_file(capsys: Capture) -> None:
    assert CliCluster().run("credentials", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out) == WANTED
