"""CNI requests as runtimes send them, and results in the format of each version."""

import json
from collections.abc import Mapping

import pytest

from openeni_nodeagent.cni import frame
from openeni_nodeagent.cni.protocol import (
    AddResult,
    CNIError,
    Code,
    Command,
    GCAttachment,
    ResultInterface,
    ResultRoute,
    encode_error,
    encode_result,
    parse,
)

CONTAINERD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "5d1b6f0a",
    "CNI_NETNS": "/var/run/netns/cni-1",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;"
    "K8S_POD_INFRA_CONTAINER_ID=5d1b6f0a;K8S_POD_UID=2f1f9a3e",
}
CONFIG = {"cniVersion": "1.1.0", "name": "openeni", "type": "openeni"}


def call(config: Mapping[str, object], environment: Mapping[str, str]) -> None:
    parse(CONTAINERD | dict(environment), json.dumps(config).encode())


def test_a_call_as_containerd_makes_it_is_understood() -> None:
    request = parse(CONTAINERD, json.dumps(CONFIG).encode())
    assert request.command == Command.ADD
    assert (request.container_id, request.interface) == ("5d1b6f0a", "eth0")
    assert request.netns == "/var/run/netns/cni-1"
    assert (request.pod_uid, request.pod_namespace, request.pod_name) == (
        "2f1f9a3e",
        "default",
        "web-0",
    )


def test_a_del_needs_neither_namespace_nor_pod() -> None:
    call(CONFIG, {"CNI_COMMAND": "DEL", "CNI_NETNS": "", "CNI_ARGS": ""})


def test_gc_brings_the_runtimes_list() -> None:
    config = CONFIG | {"cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]}
    request = parse({"CNI_COMMAND": "GC", "CNI_PATH": "/x"}, json.dumps(config).encode())
    assert request.config.attachments == (GCAttachment("a", "eth0"),)


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        ({"CNI_COMMAND": "NAP"}, Code.INVALID_ENVIRONMENT, "CNI_COMMAND 'NAP'"),
        ({"CNI_CONTAINERID": ""}, Code.INVALID_ENVIRONMENT, "CNI_CONTAINERID is missing"),
        ({"CNI_CONTAINERID": "../x"}, Code.INVALID_ENVIRONMENT, "CNI_CONTAINERID '../x'"),
        ({"CNI_IFNAME": "a-name-too-long-for-it"}, Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        ({"CNI_IFNAME": "eth/0"}, Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        ({"CNI_IFNAME": ".."}, Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        ({"CNI_NETNS": ""}, Code.INVALID_ENVIRONMENT, "CNI_NETNS is missing"),
        ({"CNI_ARGS": "K8S_POD_NAME=x"}, Code.INVALID_ENVIRONMENT, "K8S_POD_UID, K8S_POD_NAMES"),
        ({"CNI_COMMAND": "CHECK"}, Code.INVALID_CONFIG, "prevResult"),
        ({"CNI_COMMAND": "GC"}, Code.INVALID_CONFIG, "valid-attachments"),
    ],
)
def test_a_wrong_environment_is_named(change: dict[str, str], code: Code, names: str) -> None:
    with pytest.raises(CNIError) as raised:
        call(CONFIG, change)
    assert raised.value.code == code
    assert names in raised.value.message


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"cniVersion": "2.0.0", "name": "x"}, Code.INCOMPATIBLE_VERSION),
        ({"name": "x"}, Code.INCOMPATIBLE_VERSION),
        ({"cniVersion": "1.0.0"}, Code.INVALID_CONFIG),
        ({"cniVersion": 1, "name": "x"}, Code.DECODE),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, object], code: Code) -> None:
    with pytest.raises(CNIError) as raised:
        call(config, {})
    assert raised.value.code == code


RESULT = AddResult(
    ResultInterface("oe1234", "ee:ee:ee:ee:ee:ee"),
    ResultInterface("eth0", "0a:00:00:00:00:01", "/ns", 1450),
    ("10.98.0.5", "2001:db8::5"),
    ("169.254.1.1", ""),
    (ResultRoute("0.0.0.0/0", "169.254.1.1"), ResultRoute("10.98.0.0/24")),
)


def test_the_result_of_each_version_has_that_versions_fields() -> None:
    old, middle, new = (json.loads(encode_result(v, RESULT)) for v in ("0.4.0", "1.0.0", "1.1.0"))
    assert [ip.get("version") for ip in old["ips"]] == ["4", "6"]
    assert middle["ips"] == [
        {"address": "10.98.0.5/32", "interface": 1, "gateway": "169.254.1.1"},
        {"address": "2001:db8::5/128", "interface": 1},
    ]
    assert [i.get("mtu") for i in middle["interfaces"]] == [None, None]
    assert new["interfaces"] == [
        {"name": "oe1234", "mac": "ee:ee:ee:ee:ee:ee"},
        {"name": "eth0", "mac": "0a:00:00:00:00:01", "sandbox": "/ns", "mtu": 1450},
    ]
    assert new["routes"] == [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}, {"dst": "10.98.0.0/24"}]
    assert [r["cniVersion"] for r in (old, middle, new)] == ["0.4.0", "1.0.0", "1.1.0"]


def test_an_error_carries_code_message_and_details() -> None:
    error = CNIError(Code.TRY_AGAIN, "no address", "QuotaExceeded")
    assert json.loads(encode_error("1.0.0", error)) == {
        "cniVersion": "1.0.0",
        "code": 11,
        "msg": "no address",
        "details": "QuotaExceeded",
    }


def test_an_encoded_request_decodes_to_itself_and_a_truncated_one_to_an_error() -> None:
    whole = frame.encode_request(CONTAINERD, b"{}", deadline=100)
    head, environment, stdin = frame.decode_request(whole)
    assert (head.deadline, environment, stdin) == (100.0, CONTAINERD, b"{}")
    for cut in range(len(whole)):
        with pytest.raises(frame.FrameError):
            frame.decode_request(whole[:cut])
