"""openeni's configuration list, and what an administrator has put into it."""

import json
from typing import Any

import pytest

from openeni_nodeagent.cni.conflist import conflist
from openeni_testing.agent.cni_call import DEEP

OWN = {"type": "openeni", "capabilities": {"portMappings": True, "bandwidth": True}}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
TUNING = {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}, "mtu": 1400}
BARE = conflist().content


def written(plugins: object, **keys: object) -> bytes:
    return json.dumps({"name": "x", "cniVersion": "0.4.0", "plugins": plugins} | keys).encode()


def made(installed: bytes) -> Any:
    found = conflist(installed)
    assert found.problem == ""
    return json.loads(found.content)


def test_the_list_names_every_version_for_new_and_old_runtimes() -> None:
    assert json.loads(BARE) == {
        "cniVersion": "1.0.0",
        "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
        "name": "openeni",
        "loadOnlyInlinedPlugins": True,
        "plugins": [OWN],
    }


@pytest.mark.parametrize(
    "plugins",
    [
        [OWN, TUNING, PORTMAP],
        [TUNING, OWN, PORTMAP],
        [TUNING, PORTMAP],
        [TUNING, {"type": "openeni"}, PORTMAP, {"type": "openeni", "mtu": 1}],
    ],
)
def test_other_plugins_stay_behind_openenis_in_their_order(plugins: object) -> None:
    kept = made(written(plugins))["plugins"]
    assert [plugin["type"] for plugin in kept] == ["openeni", "tuning", "portmap"]
    assert kept[1:] == [TUNING, PORTMAP]


def test_a_capability_that_another_plugin_declares_is_left_to_it() -> None:
    assert made(written([OWN, PORTMAP]))["plugins"][0]["capabilities"] == {"bandwidth": True}
    bandwidth = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
    assert "capabilities" not in made(written([PORTMAP, bandwidth]))["plugins"][0]
    off = {"type": "portmap", "capabilities": {"portMappings": False}}
    assert made(written([off]))["plugins"][0] == OWN


@pytest.mark.parametrize("capabilities", [None, {"portMappings": None}])
def test_a_capability_that_is_null_is_none(capabilities: object) -> None:
    plugin = {"type": "portmap", "capabilities": capabilities}
    assert made(written([plugin]))["plugins"] == [OWN, plugin]


def test_a_plugins_keys_may_have_any_case_as_for_libcni_and_stay_as_they_are() -> None:
    portmap = {"Type": "portmap", "CAPABILITIES": {"portMappings": True, "PortMappings": False}}
    kept = made(written([{"Type": "openeni", "mtu": 1}, portmap]))["plugins"]
    assert kept == [OWN | {"capabilities": {"bandwidth": True}}, portmap]
    assert made(written([{"Type": "openeni", "type": "tuning"}]))["plugins"][0] == OWN


def test_what_libcni_decodes_of_a_plugin_may_be_null_as_for_go() -> None:
    nothing = dict.fromkeys(["name", "cniVersion", "capabilities", "ipam", "dns", "prevResult"])
    attachments = {"cni.dev/valid-attachments": [None, {"ifname": None}]}
    inner = {"ipam": {"type": None}, "dns": {"domain": None, "options": [None, "x"]}}
    for added in (nothing, attachments | inner):
        plugin = {"type": "tuning"} | added
        assert made(written([plugin]))["plugins"] == [OWN, plugin]


@pytest.mark.parametrize(("given", "kept"), [(True, True), ("True", True), ("FALSE", False)])
def test_a_flag_of_the_list_may_be_a_string_as_for_libcni(given: object, kept: bool) -> None:
    """An older libcni knows no strings (ConfListFromBytes)."""
    assert made(written([TUNING], disableCheck=given))["disableCheck"] is kept


def test_bytes_that_are_no_utf_8_are_read_as_go_does() -> None:
    plugin = {"type": "tun\ufffding", "caf\ufffd": "\ufffd"}
    given = written([OWN, plugin]).replace(b"\\ufffd", b"\xe9")
    assert b"\xe9" in given
    assert made(given)["plugins"] == [OWN, plugin]


@pytest.mark.parametrize(
    "twice",
    [
        b'"name":1,"name":"x"',
        b'"plugins":[],"plugins":[]',
        b'"cniVersions":["x"],"cniVersions":[]',
        b'"disableGC":null,"disableGC":true',
    ],
)
def test_of_equal_keys_the_last_one_counts_as_for_go(twice: bytes) -> None:
    given = b"{" + twice + b"," + written([OWN, TUNING])[1:]
    assert made(given)["plugins"] == [OWN, TUNING]
    portmap = b'{"type":"portmap","capabilities":{"portMappings":1,"portMappings":true}}'
    given = written([OWN, {}]).replace(b"{}", portmap)
    assert made(given)["plugins"][0]["capabilities"] == {"bandwidth": True}


def test_a_key_may_have_letters_that_go_takes_for_others() -> None:
    given = {"type": "portmap", "capabilitie\u017f": {"portMappings": True}}
    assert made(written([OWN, given]))["plugins"][0]["capabilities"] == {"bandwidth": True}


def test_keys_of_an_administrator_stay_and_openenis_own_do_not() -> None:
    keys = {"disableCheck": True, "loadOnlyInlinedPlugins": False}
    given = written([OWN], cniVersions=["0.3.1"], **keys)
    assert made(given) == json.loads(BARE) | keys


@pytest.mark.parametrize(
    ("given", "version", "versions"),
    [
        ({"cniVersion": "1.0.0", "cniVersions": ["0.4.0", "1.0.0"]}, "1.0.0", ["0.4.0", "1.0.0"]),
        ({"cniVersion": "1.0.0", "cniVersions": ["0.4.0"]}, "1.0.0", ["0.4.0", "1.0.0"]),
        ({"cniVersion": "1.0.0"}, "1.0.0", ["1.0.0"]),
        ({"cniVersion": "0.4.0", "cniVersions": ["1.1.0", "9.0.0"]}, "0.4.0", ["0.4.0", "1.1.0"]),
        ({"cniVersion": "1.1.0"}, "1.1.0", ["1.1.0"]),
        (
            {"cniVersion": "0.4.0", "cniVersions": ["0.4.0", "1.0.0"]},  # for an older runtime
            *("0.4.0", ["0.4.0", "1.0.0"]),
        ),
        ({"cniVersion": "1.1.0", "cniVersions": ["1.0.0"]}, "1.1.0", ["1.0.0", "1.1.0"]),
        ({"cniVersion": "v1"}, "1.0.0", ["0.4.0", "1.0.0", "1.1.0"]),  # no runtime stops at it
        ({"cniVersion": "0.3.1"}, "1.0.0", ["0.4.0", "1.0.0", "1.1.0"]),  # openeni has it not
        ({"cniVersion": ""}, "1.0.0", ["0.4.0", "1.0.0", "1.1.0"]),
    ],
)
def test_versions_that_an_administrator_has_chosen_for_other_plugins_stay(
    given: dict[str, object], version: str, versions: list[str]
) -> None:
    found = made(written([OWN, TUNING], **given))
    assert (found["cniVersion"], found["cniVersions"]) == (version, versions)
    assert made(written([OWN], **given)) == json.loads(BARE)


@pytest.mark.parametrize("installed", [BARE, written([TUNING, PORTMAP], disableGC=True)])
def test_what_was_written_is_not_changed_again(installed: bytes) -> None:
    content = conflist(installed).content
    assert conflist(content).content == content


@pytest.mark.parametrize(
    ("installed", "problem"),
    [
        (b"", "Expecting value"),
        (b'{"plugins": [', "Expecting value"),
        (b"[]", "object"),
        (b"{}", "name"),
        (b'{"name":"x"}', "plugins"),
        (written(None), "array"),
        (written([]), "length"),
        (written(["portmap"]), "object"),
        (written([OWN, {"capabilities": {"a": True}}]), "type"),
        (written([OWN, {"type": "x", "capabilities": 1}]), "capabilities"),
        (b"\xff\xfe", "Expecting value"),
        (b'{"name":"x","plugins":[{"type":"x"}],"x":NaN}', "NaN"),
        (b'{"name":"x","plugins":[{"type":"x"}],"x":1e400}', "1e400"),
        (b'{"name":"x","plugins":[{"type":"x","y":' + b"9" * 400 + b"}]}", "9" * 30 + " is"),
        (b'{"name":"x","plugins":[{"type":"x","y":"\\ud800"}]}', "surrogates"),
        (written([OWN], cniVersion="v1", cniVersions=[]), "[+-]"),
        (written([OWN], cniVersions=["9" * 20]), "$.cniVersions[0]"),
        (written([OWN], name=1), "name"),
        (written([OWN], cniVersion=None), "cniVersion"),
        (written([OWN], cniVersions=["1.0.0", "1.x"]), "$.cniVersions[1]"),
        (written([OWN], disableCheck=1), "disableCheck"),
        (written([OWN], disableGC="yes"), "disableGC"),
        (written([OWN], loadOnlyInlinedPlugins=None), "loadOnlyInlinedPlugins"),
        (written([OWN, None]), "null"),
        (written([OWN, {"type": ""}]), "type"),
        (written([OWN, {"type": "x", "Name": 1}]), "name"),
        (written([OWN, {"type": "x", "cniVersion": 1}]), "cniversion"),
        (written([OWN, {"type": "x", "ipam": [1]}]), "ipam"),
        (written([OWN, {"type": "x", "ipam": {"Type": 1}}]), "ipam.type"),
        (written([OWN, {"type": "x", "dns": "x"}]), "dns"),
        (written([OWN, {"type": "x", "DNS": {"Search": [1]}}]), "dns.search"),
        (written([OWN, {"type": "x", "prevResult": "x"}]), "prevresult"),
        (written([OWN, {"type": "x", "cni.dev/valid-attachments": [{"IfName": 1}]}]), "ifname"),
        pytest.param(b'{"x":' + DEEP + b"}", "recursion", id="deep"),
    ],
)
def test_a_list_that_no_runtime_could_read_is_replaced_and_the_cause_named(
    installed: bytes, problem: str
) -> None:
    found = conflist(installed)
    assert found.content == BARE
    assert problem in found.problem
