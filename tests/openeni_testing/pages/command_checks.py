"""Check that a command of a page is one that exists: programs, subcommands, options, fields.

Each check yields what is wrong. What openeni itself offers is asked of its code; what others offer
is listed here, and what runs in the lab is tried there (tests/system/site).
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from typer.main import get_command

from openeni_cli.commands import app
from openeni_crds.conditions import Type
from openeni_crds.names import Kind
from openeni_testing.objects import REPOSITORY
from openeni_testing.pages.blocks import Command
from openeni_testing.pages.schemas import NAMES, has_path, selectable, unknown_keys, unknown_paths

Check = Callable[[Command], Iterator[str]]

_TARGETS: Final = set(
    re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
)
# Words with blanks between them.
_PROGRAMS: Final = """
apt-get argocd awk busybox cat cd cosign cp crictl ctr curl docker echo export flux git grep head
ip jq journalctl ls mkdir modprobe nft nsenter openeni-lab pip podman python python3 rm sed
sha256sum skopeo
sleep sort sysctl systemctl tar tcpdump tr uniq
"""
_VERBS: Final = """
annotate apply cordon create debug delete describe drain exec explain get label logs patch replace
rollout scale taint uncordon wait
"""
_RESOURCES: Final = """
application configmap crd customresourcedefinition daemonset deployment endpointslice event events
job lease namespace namespaces node nodes pod pods pvc secret secrets service statefulset
servicecidr
"""
_OF_RESOURCES: Final = "annotate delete describe get label patch wait"
_HELM: Final = """
get history install list lint package push pull rollback template test uninstall upgrade status show
"""
_OF_EXECUTABLE: Final = (("live",), ("ready",), ("phases",))  # nodeagent/.../cni/openeni.c
# Commands of OpenStack's client with their options.
_OPENSTACK: Final = {
    "application credential create": "--role --restricted --access-rules --expiration",
    "application credential delete": "",
    "loadbalancer member create": "--subnet-id --address --protocol-port",
    "network create": "--enable-port-security",
    "network delete": "",
    "network show": "-c",
    "port create": "--network --fixed-ip --security-group --tag -f -c",
    "port delete": "",
    "port set": "--enable",
    "port list": "--long -f --tags -c --network --security-group",
    "port show": "-c -f",
    "quota set": "--ports",
    "quota show": "--usage",
    "router add subnet": "",
    "security group create": "",
    "security group delete": "",
    "security group rule create": "--protocol --remote-ip --remote-group --dst-port --ethertype",
    "server add port": "",
    "server delete": "",
    "server event list": "",
    "server remove port": "",
    "server show": "-c",
    "subnet create": "--network --subnet-range --no-dhcp --ip-version --ipv6-ra-mode",
    "subnet set": "--no-dhcp --allocation-pool --gateway",
    "subnet show": "-c",
}


def problems(command: Command) -> Iterator[str]:
    """Yield what is wrong with a command."""
    program = command.program.rpartition("/")[2]
    check = _CHECKS.get(program)
    if check is not None:
        yield from (f"{command}: {problem}" for problem in check(command))
    elif program not in _PROGRAMS.split():
        yield f"{command}: the program {program!r} is not known to the pages' test"


def _options(words: tuple[str, ...]) -> Iterator[str]:
    for word in words:
        if word == "--":
            return
        if re.match(r"--?[a-zA-Z]", word):
            yield word.partition("=")[0]


def _values_of(command: Command, *options: str) -> list[str]:
    """Return the values that a command gives one of the options, in either form."""
    found = [
        w.partition("=")[2] for w in command.words if w.partition("=")[0] in options and "=" in w
    ]
    pairs = zip(command.words, command.words[1:], strict=False)
    return found + [value for option, value in pairs if option in options]


def _plain(command: Command) -> list[str]:
    """Return a kubectl command's verb and arguments, without options and their values."""
    valued = {"-n", "-l", "-o", "-p", "-L", "-c", "-f", "--field-selector", "--type", "--timeout"}
    valued |= {"--namespace", "--context", "--tail", "--since", "--replicas"}
    words = list(command.words[1:])
    kept: list[str] = []
    while words:
        word = words.pop(0)
        if word in valued:
            words = words[1:]
        elif not word.startswith("-"):
            kept.append(word)
    return kept


def _kubectl(command: Command) -> Iterator[str]:
    if not (plain := _plain(command)):
        yield "it has no verb"
        return
    verb, *arguments = plain
    if verb == "openeni":
        yield from _openeni(Command(("openeni", *command.words[2:])))
        return
    if verb not in _VERBS.split():
        yield f"kubectl has no {verb!r}"
    resource = arguments[0] if arguments else ""
    given = resource.partition("/")[0].split(",")
    if (
        verb in _OF_RESOURCES.split()
        and resource
        and not resource.isupper()
        and resource != "VALUE"
    ):
        for word in given:
            if word not in NAMES and word not in _RESOURCES.split() and not word.startswith("$"):
                yield f"there is no kind {word!r}"
    kinds = {NAMES[word] for word in given if word in NAMES}
    for kind in kinds:
        yield from _of_kind(command, kind)


def _of_kind(command: Command, kind: Kind) -> Iterator[str]:
    for selector in _values_of(command, "--field-selector"):
        fields = (re.split(r"!?=", part)[0] for part in selector.split(","))
        yield from (
            f"{kind.name} has no selectable field {f!r}"
            for f in fields
            if f not in selectable(kind)
        )
    for output in _values_of(command, "-o", "--output", "--for"):
        if "jsonpath" in output:
            yield from (f"{kind.name} has no {path}" for path in unknown_paths(kind, output))
        condition = output.removeprefix("condition=").partition("=")[0]
        if output.startswith("condition=") and condition not in {*Type}:
            yield f"there is no condition {condition!r}"
    for patch in _values_of(command, "-p", "--patch"):
        yield from _patch(kind, json.loads(patch))


def _patch(kind: Kind, patch: Any) -> Iterator[str]:
    if isinstance(patch, list):
        changes = cast("list[dict[str, Any]]", patch)
        paths = (str(change["path"]) for change in changes)
        yield from (f"{kind.name} has no {path}" for path in paths if not has_path(kind, path))
    else:
        yield from (f"{kind.name} has no {key}" for key in unknown_keys(kind, patch))


def _helm(command: Command) -> Iterator[str]:
    if command.words[1:2] and command.words[1] not in _HELM.split():
        yield f"helm has no {command.words[1]!r}"
    for word in command.words:
        if word.startswith("helm/") and not (REPOSITORY / word).is_dir():
            yield f"there is no chart {word}"


def _openeni(command: Command) -> Iterator[str]:
    if command.words[1:] in _OF_EXECUTABLE:
        return
    node: Any = get_command(app)
    own = {option for p in node.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
    words = list(command.words[1:])
    while words and hasattr(node, "commands"):
        word = words.pop(0)
        if word.startswith("-"):
            if word.partition("=")[0] not in own:
                yield f"openeni has no option {word}"
            words = words[1:] if word in {"--context", "--kubeconfig"} else words
        elif word in node.commands:
            node = node.commands[word]
        else:
            yield f"openeni has no command {word!r}"
            return
    known = {option for p in node.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
    for option in _options(tuple(words)):
        if option not in known:
            yield f"it has no option {option}"


def _make(command: Command) -> Iterator[str]:
    for word in command.words[1:]:
        if "=" not in word and not word.startswith("-") and word not in _TARGETS:
            yield f"there is no target {word!r}"


def _openstack(command: Command) -> Iterator[str]:
    words = " ".join(command.words[1:])
    known = [name for name in _OPENSTACK if words == name or words.startswith(f"{name} ")]
    if not known:
        yield "this command of OpenStack's client is not listed"
        return
    allowed = _OPENSTACK[max(known, key=len)].split()
    yield from (f"it has no option {o}" for o in _options(command.words) if o not in allowed)


_CHECKS: Final[dict[str, Check]] = {
    "kubectl": _kubectl,
    "helm": _helm,
    "openeni": _openeni,
    "make": _make,
    "openstack": _openstack,
}
