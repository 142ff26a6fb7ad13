"""The command `openeni`, which is `kubectl openeni`, too."""

import sys
from pathlib import Path
from typing import Final

from typer.exceptions import TyperException

from openeni_cli.cluster import Connector, connect_to
from openeni_cli.commands import app
from openeni_cli.failures import CommandError, explain
from openeni_kube.command_line import ExitCode
from openeni_kube.store import StoreError

PLUGIN: Final = "kubectl-openeni"  # the name under which kubectl finds it


def main() -> None:
    """Run the command line. Expected errors end in one line and an exit code."""
    name = "kubectl openeni" if Path(sys.argv[0]).name == PLUGIN else "openeni"
    sys.exit(run(sys.argv[1:], name))


def run(arguments: list[str], name: str = "openeni", *, connect: Connector = connect_to) -> int:
    """Return the exit code."""
    try:
        code = app(arguments or ["--help"], prog_name=name, standalone_mode=False, obj=connect)
    except TyperException as error:
        return _fail(name, error.format_message(), ExitCode.USAGE)
    except CommandError as error:
        return _fail(name, str(error), ExitCode.UNAVAILABLE)
    except StoreError as error:
        return _fail(name, explain(error), ExitCode.UNAVAILABLE)
    return int(code or ExitCode.OK)


def _fail(name: str, message: str, code: ExitCode) -> int:
    sys.stderr.write(f"{name}: {message}\n")
    return int(code)


if __name__ == "__main__":
    main()
