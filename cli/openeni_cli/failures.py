"""Exit codes, and the failures of a command as one line with the way out."""

from collections.abc import Mapping
from typing import Final

from openeni_crds.names import GROUP
from openeni_kube.command_line import ExitCode
from openeni_kube.store import InvalidError, NotFoundError, StoreError, UnreachableError

UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403


MEANINGS: Final[Mapping[ExitCode, str]] = {
    ExitCode.OK: "the command has done its work, and found nothing wrong",
    ExitCode.FOUND: "it has done its work, and the answer is bad: there are problems or "
    "differences, a check has failed, ports are left over, the address is not known, the plan does "
    "not fit, the node may not be removed yet",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.UNAVAILABLE: "it could not find out: there is no kubeconfig, the API server does not "
    "answer or refuses, the CRDs are not installed, a pod of openeni's that was to answer is not "
    "ready, or a file cannot be read or written",
    ExitCode.INTERRUPTED: "it was interrupted",
}


class CommandError(Exception):
    """A command cannot do its work; one line that says why and what to do."""


def explain(error: StoreError, what: str = "") -> str:
    """Return one line about an answer of the API server; `what` was asked for."""
    about = f"{what}: " if what else ""
    return f"{about}{error.message or 'no answer'}; {_way_out(error)}"


def _way_out(error: StoreError) -> str:
    if error.status == UNAUTHORIZED:
        return "log in to the cluster again, or choose another --context of the kubeconfig"
    if error.status == FORBIDDEN:
        return (
            "have an administrator of the cluster bind your account to a role with this verb, or "
            "choose another --context (`kubectl auth can-i --list` shows what it may do)"
        )
    if isinstance(error, NotFoundError):
        return (
            f"if it is a kind of {GROUP}, its CRDs are not installed: install openeni, or choose "
            "the cluster that has it by --context"
        )
    if isinstance(error, UnreachableError):
        return (
            "check that the server of the kubeconfig's context can be reached from here, or choose "
            "another --context"
        )
    if isinstance(error, InvalidError):
        return "the API server may be older or newer than this command: update the older one"
    return "try again"
