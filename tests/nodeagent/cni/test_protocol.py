"""CNI requests as runtimes send them."""

import json
from collections.abc import Mapping

import pytest

from openeni_crds.podip import MAX_CONTAINER_ID
from openeni_nodeagent.cni.parsing import configured_version, parse
from openeni_nodeagent.cni.protocol import (
    MOST_CHARACTERS,
    CNIError,
    Code,
    Command,
    GCAttachment,
    PrevInterface,
    PrevIP,
    PrevResult,
    Request,
)
from openeni_testing.agent.cni_call import DEEP

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


def call(config: Mapping[str, object], environment: Mapping[str, str]) -> Request:
    return parse(CONTAINERD | dict(environment), json.dumps(config).encode())


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


@pytest.mark.parametrize("given", ["eth%d", "../x", "à", "\ufffd", "a" * 200])
@pytest.mark.parametrize("variable", ["CNI_CONTAINERID", "CNI_IFNAME"])
def test_a_del_of_what_no_add_accepts_is_no_error(variable: str, given: str) -> None:
    """The runtime sends it after the ADD that was refused, until it succeeds."""
    call(CONFIG, {"CNI_COMMAND": "DEL", variable: given})


GARBAGE = {
    "name": 5,
    "prevResult": {"ips": None, "interfaces": [{"name": 7}], "dns": "x"},
    "runtimeConfig": {"portMappings": "none"},
    "cni.dev/valid-attachments": 0,
}


def test_a_del_decodes_nothing_but_the_version() -> None:
    request = call(CONFIG | GARBAGE, {"CNI_COMMAND": "DEL"})
    assert (request.container_id, request.interface) == ("5d1b6f0a", "eth0")


@pytest.mark.parametrize("field", ["runtimeConfig", "cni.dev/valid-attachments"])
def test_an_add_decodes_nothing_that_only_other_commands_need(field: str) -> None:
    assert call(CONFIG | {field: GARBAGE[field]}, {}).config.name == "openeni"


@pytest.mark.parametrize("command", list(Command))
def test_a_configuration_that_is_nested_too_deep_is_invalid(command: Command) -> None:
    config = json.dumps(CONFIG).encode()[:-1] + b',"prevResult":' + DEEP + b"}"
    with pytest.raises(CNIError) as raised:
        parse(CONTAINERD | {"CNI_COMMAND": command}, config)
    assert raised.value.code == Code.DECODE
    assert configured_version(config) == "1.1.0"


@pytest.mark.parametrize("command", list(Command))
def test_a_configuration_that_is_no_utf8_is_invalid(command: Command) -> None:
    config = json.dumps(CONFIG | {"cniVersion": "1.1.0?"}).encode().replace(b"?", b"\xff")
    with pytest.raises(CNIError) as raised:
        parse(CONTAINERD | {"CNI_COMMAND": command}, config)
    assert raised.value.code == Code.DECODE
    assert configured_version(config) == "1.1.0"


def test_an_error_is_cut_off_however_much_it_quotes() -> None:
    with pytest.raises(CNIError) as raised:
        call(CONFIG | {"cniVersion": "\x80" * 1_000_000}, {})
    assert raised.value.code == Code.INCOMPATIBLE_VERSION
    assert len(str(raised.value)) == len(raised.value.message) == MOST_CHARACTERS


def test_a_container_id_that_no_podip_can_record_is_refused_but_deleted() -> None:
    call(CONFIG, {"CNI_CONTAINERID": "a" * MAX_CONTAINER_ID})
    longer = {"CNI_CONTAINERID": "a" * (MAX_CONTAINER_ID + 1)}
    with pytest.raises(CNIError, match="CNI_CONTAINERID is longer than 128") as raised:
        call(CONFIG, longer)
    assert raised.value.code == Code.INVALID_ENVIRONMENT
    call(CONFIG, {"CNI_COMMAND": "DEL"} | longer)


def test_check_brings_the_result_of_its_add() -> None:
    ips = [{"address": "10.98.0.5/32", "interface": 0, "gateway": "169.254.1.1", "version": "4"}]
    result = {"interfaces": [{"name": "eth0", "mtu": 1450}], "ips": ips, "routes": None}
    request = call(CONFIG | {"prevResult": result}, {"CNI_COMMAND": "CHECK"})
    wanted = PrevResult((PrevInterface("eth0"),), (PrevIP("10.98.0.5/32", 0),))
    assert request.config.prev_result == wanted


def test_a_null_is_as_if_it_were_missing() -> None:
    assert call(CONFIG | {"runtimeConfig": None}, {}).config.runtime_config == b""
    result = {"interfaces": [{"name": "eth0", "mac": None}], "ips": None}
    request = call(CONFIG | {"prevResult": result}, {"CNI_COMMAND": "CHECK"})
    assert request.config.prev_result == PrevResult((PrevInterface("eth0"),))


GC = {"CNI_COMMAND": "GC", "CNI_PATH": "/x"}


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        ([{"containerID": "a", "ifname": "eth0"}], (GCAttachment("a", "eth0"),)),
        ([], ()),
        (None, ()),  # an empty list of a runtime in Go
    ],
)
def test_gc_brings_the_runtimes_list(given: object, listed: tuple[GCAttachment, ...]) -> None:
    config = CONFIG | {"cni.dev/valid-attachments": given}
    request = parse(GC, json.dumps(config).encode())
    assert request.config.attachments == listed


def test_gc_reads_the_key_of_the_first_text_where_the_new_one_is_missing() -> None:
    first: dict[str, object] = {"cni.dev/attachments": [{"containerID": "a", "ifname": "eth0"}]}
    assert call({**CONFIG, **first}, GC).config.attachments == (GCAttachment("a", "eth0"),)
    for new, listed in (([], ()), ([{"containerID": "b", "ifname": "eth0"}], ("b",))):
        both = {**CONFIG, **first, "cni.dev/valid-attachments": new}
        assert tuple(a.container_id for a in call(both, GC).config.attachments or ()) == listed
    with pytest.raises(CNIError, match=r"^cni\.dev/attachments of the network configuration"):
        call(CONFIG | {"cni.dev/attachments": "x"}, GC)


@pytest.mark.parametrize("command", ["GC", "STATUS"])
@pytest.mark.parametrize("version", ["0.4.0", "1.0.0"])
def test_a_command_that_the_version_does_not_have_is_incompatible(
    command: str, version: str
) -> None:
    config = CONFIG | {"cniVersion": version, "cni.dev/valid-attachments": None}
    with pytest.raises(CNIError, match=rf"^{command} needs cniVersion 1\.1\.0, not ") as raised:
        call(config, {"CNI_COMMAND": command})
    assert raised.value.code == Code.INCOMPATIBLE_VERSION


def test_openeni_must_be_the_first_plugin_of_its_list() -> None:
    call(CONFIG | {"prevResult": None}, {})
    with pytest.raises(CNIError, match="must be the first") as raised:
        call(CONFIG | {"prevResult": {"ips": None}}, {})
    assert raised.value.code == Code.INVALID_CONFIG


def test_a_network_may_have_a_long_name() -> None:
    name = "a" * 1000
    assert call(CONFIG | {"name": name}, {}).config.name == name


@pytest.mark.parametrize("name", ["eth0", "a" * 15, "é" * 7, "net-1.2_3", "ethə"])
def test_interfaces_are_named_as_the_kernel_allows(name: str) -> None:
    assert call(CONFIG, {"CNI_IFNAME": name}).interface == name


@pytest.mark.parametrize(
    "name",
    [
        "a" * 16,
        "é" * 8,  # 16 bytes
        "eth%d",  # the kernel would make up a number
        "eth:0",
        "eth\t0",
        "eth\x0b0",
        "eth\u00a00",
        "à",  # its second byte, 0xa0, is a space to the kernel
        "eth\ufffd",  # bytes that are no UTF-8 cannot be in the result
        ".",
        "..",
        "all",  # the kernel has sysctls for all links, and for each new one, there
        "default",
        "lo",  # each namespace has one
        "",
    ],
)
def test_other_names_of_interfaces_are_refused(name: str) -> None:
    with pytest.raises(CNIError, match="CNI_IFNAME") as raised:
        call(CONFIG, {"CNI_IFNAME": name})
    assert raised.value.code == Code.INVALID_ENVIRONMENT


@pytest.mark.parametrize(
    ("change", "code", "names"),
    [
        ({"CNI_COMMAND": "NAP"}, Code.INVALID_ENVIRONMENT, "CNI_COMMAND 'NAP'"),
        (
            {"CNI_CONTAINERID": "", "CNI_IFNAME": "", "CNI_NETNS": ""},
            Code.INVALID_ENVIRONMENT,
            "has not set CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS",
        ),
        (
            {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "", "CNI_NETNS": ""},
            Code.INVALID_ENVIRONMENT,
            "has not set CNI_CONTAINERID",
        ),
        ({"CNI_CONTAINERID": "../x"}, Code.INVALID_ENVIRONMENT, "CNI_CONTAINERID '../x'"),
        ({"CNI_IFNAME": "a-name-too-long-for-it"}, Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        ({"CNI_IFNAME": "eth/0"}, Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        ({"CNI_IFNAME": ".."}, Code.INVALID_ENVIRONMENT, "CNI_IFNAME"),
        ({"CNI_NETNS": ""}, Code.INVALID_ENVIRONMENT, "has not set CNI_NETNS"),
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
        ({"cniVersion": "1.0.0", "name": "../x"}, Code.INVALID_CONFIG),
        ({"cniVersion": "1.0.0", "name": 5}, Code.DECODE),
        ({"cniVersion": 1, "name": "x"}, Code.DECODE),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, object], code: Code) -> None:
    with pytest.raises(CNIError) as raised:
        call(config, {})
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("field", "command"), [("prevResult", "CHECK"), ("cni.dev/valid-attachments", "GC")]
)
def test_a_field_that_the_command_needs_is_named_when_it_is_wrong(field: str, command: str) -> None:
    with pytest.raises(CNIError, match=rf"^{field} of the network configuration") as raised:
        call(CONFIG | {field: "x"}, {"CNI_COMMAND": command})
    assert raised.value.code == Code.DECODE


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        (b'{"cniVersion":"0.4.0","name":5}', "0.4.0"),
        (b'{"cniVersion":"2.0.0"}', "2.0.0"),
        (b'{"cniVersion":"a b"}', "1.1.0"),
        (b'{"cniVersion":4}', "1.1.0"),
        (b"{", "1.1.0"),
    ],
)
def test_errors_repeat_the_configurations_version_or_the_newest(stdin: bytes, version: str) -> None:
    assert configured_version(stdin) == version
