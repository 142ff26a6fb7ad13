"""Answers in the format of each version of the specification."""

import json
from dataclasses import replace

from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.cni.results import (
    AddResult,
    ResultInterface,
    ResultRoute,
    encode_error,
    encode_result,
)

RESULT = AddResult(
    ResultInterface("oe1234", "ee:ee:ee:ee:ee:ee", mtu=1450),
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
        {"name": "oe1234", "mac": "ee:ee:ee:ee:ee:ee", "mtu": 1450},
        {"name": "eth0", "mac": "0a:00:00:00:00:01", "sandbox": "/ns", "mtu": 1450},
    ]
    default = {"dst": "0.0.0.0/0", "gw": "169.254.1.1"}
    assert old["routes"] == middle["routes"] == [default, {"dst": "10.98.0.0/24"}]
    assert new["routes"] == [default, {"dst": "10.98.0.0/24", "scope": 253}]
    assert [r["cniVersion"] for r in (old, middle, new)] == ["0.4.0", "1.0.0", "1.1.0"]


def test_without_an_interface_of_the_host_the_pods_is_the_first() -> None:
    found = json.loads(encode_result("1.1.0", replace(RESULT, host=None)))
    assert [interface["name"] for interface in found["interfaces"]] == ["eth0"]
    assert [ip["interface"] for ip in found["ips"]] == [0, 0]


def test_an_error_carries_code_message_and_details() -> None:
    error = CNIError(Code.TRY_AGAIN, "no address", "QuotaExceeded")
    assert json.loads(encode_error("1.0.0", error)) == {
        "cniVersion": "1.0.0",
        "code": 11,
        "msg": "no address",
        "details": "QuotaExceeded",
    }
