"""Render docs/cli.md from the commands of `openeni`, their options and exit codes."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, Final

from typer.main import get_command

from openeni_cli.commands import app
from openeni_cli.failures import MEANINGS
from openeni_docs.markdown import code, table

_HEADER: Final = """\
# The command `openeni`

Made from cli/openeni_cli by `make generate`; change it there.

For administrators, on their own machine, with a kubeconfig as `kubectl` uses it. In a checkout,
with Python 3.11 or newer:

```sh
python3 -m venv ~/.local/share/openeni
~/.local/share/openeni/bin/pip install '.[cli]'
export PATH=~/.local/share/openeni/bin:$PATH
openeni status
```

`kubectl openeni status` is the same. It needs no credentials of OpenStack and no way to the nodes:
it reads openeni's objects, Nodes, Events and the logs of openeni's own pods. What only the cloud or
a kernel can tell, `diagnose`, `preflight` and `sweep` have the operator and the agents find out in
their pods. `drain-node` cordons a node, and `preflight --node` tries one port; no other command
changes anything. Each command has `-o json` and `-o yaml`, and every call has a timeout.

`openeni --install-completion` completes commands in your shell. For `kubectl openeni` kubectl's own
completion does, from kubectl 1.26, with the program `kubectl_complete-openeni` that is installed
beside.

| exit code | meaning |
|---|---|
"""
_GLOBAL: Final = """
These options stand before the command: `openeni --context staging status`.

"""
_COMPLETION: Final = frozenset({"install_completion", "show_completion", "help"})


def page() -> str:
    """Return docs/cli.md."""
    root: Any = get_command(app)
    codes = "".join(f"| {int(code_)} | {meaning} |\n" for code_, meaning in MEANINGS.items())
    commands = "".join(_section(name, command) for name, command in _commands(root, "openeni"))
    return "".join((_HEADER, codes, _GLOBAL, _options(root), commands))


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with its whole name."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def _section(name: str, command: Any) -> str:
    usage = " ".join((name, "[OPTIONS]", *_arguments(command)))
    text = cleandoc(command.help or "")
    return f"\n## `{name}`\n\n```\n{usage}\n```\n\n{text}\n\n{_options(command)}"


def _arguments(command: Any) -> list[str]:
    return [str(p.metavar) for p in command.params if p.param_type_name == "argument"]


def _options(command: Any) -> str:
    rows = [
        (_names(each), _default(each), each.help or "")
        for each in command.params
        if each.param_type_name == "option" and each.name not in _COMPLETION
    ]
    return table(("option", "default", ""), rows)


def _names(option: Any) -> str:
    value = "" if option.is_flag else f" {option.metavar}".replace("|", "\\|")
    return ", ".join(code(f"{name}{value}") for name in option.opts)


def _default(option: Any) -> str:
    value = getattr(option.default, "value", option.default)
    return "" if option.is_flag or value in (None, "", ()) else code(str(value))
