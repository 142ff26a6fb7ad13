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
        (b"", "truncated"),
        (b'{"plugins": [', "truncated"),
        (b"[]", "object"),
        (b"{}", "plugins"),
        (written(None), "array"),
        (written(["portmap"]), "object"),
        (written([OWN, {"capabilities": {"a": True}}]), "type"),
        (written([OWN, {"type": "x", "capabilities": 1}]), "capabilities"),
        (b"\xff\xfe", "malformed"),
        (b'{"plugins":[{"type":"tun\xffing"}]}', "decode byte 0xff"),
        pytest.param(b'{"x":' + DEEP + b"}", "recursion", id="deep"),
    ],
)
def test_a_list_that_no_runtime_could_read_is_replaced_and_the_cause_named(
    installed: bytes, problem: str
) -> None:
    found = conflist(installed)
    assert found.content == BARE
    assert problem in found.problem
