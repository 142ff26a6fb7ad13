"""Answers in the format of each version of the specification."""

import json

from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.cni.results import (
    AddResult,
    ResultInterface,
    ResultRoute,
    encode_error,
    encode_result,
)

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
