"""Helm's test: wait until the clouds are fit for the pools, by the checks of `openeni preflight`.

Runs as `python -m openeni_operator.hooks.preflight`, with the settings and the credentials of the
operator. It changes nothing: no canary port is tried.
"""

import os
import sys
from collections.abc import Callable
from typing import Final

from openeni_crds.conditions import Reason
from openeni_crds.names import ENIPOOLS
from openeni_kube.answers import FAILED, PASSED, Check
from openeni_kube.store import Store
from openeni_operator.ask.answer import connections
from openeni_operator.ask.cluster import cluster_id
from openeni_operator.ask.preflight import preflight
from openeni_operator.cloud.api import Cloud
from openeni_operator.hooks.waiting import Finding, Messages, run
from openeni_operator.process import logs
from openeni_operator.settings import SettingsError, from_environment

MESSAGES: Final = Messages(
    "the clouds are not fit for the pools", "`openeni preflight` shows all checks"
)
# Of a cloud that may respond again while Helm waits.
TRANSIENT: Final = frozenset(
    {Reason.CLOUD_UNREACHABLE, Reason.THROTTLED, Reason.UNEXPECTED_RESPONSE}
)


def observe(store: Store, cloud: Callable[[str], Cloud]) -> Finding:
    """Return what is not fit, and as a notice what else is to be known. Raises StoreError.

    Before the first pool no cloud is named: an entry that is missing is only noticed.
    """
    found = preflight(store, cloud, cluster_id(store))
    failed = [check for check in found.checks if check.verdict == FAILED]
    if not store.list(ENIPOOLS).items:
        failed = [check for check in failed if check.reason != Reason.CLOUD_NOT_CONFIGURED]
    notice = "\n".join(
        f"{check.verdict}: {_described(check)}"
        for check in found.checks
        if check.verdict != PASSED and check not in failed
    )
    lasting = [check for check in failed if check.reason not in TRANSIENT]
    if lasting:
        return Finding(notice=notice, refusal="; ".join(map(_described, lasting)))
    return Finding("; ".join(map(_described, failed)), notice=notice)


def _described(check: Check) -> str:
    remedy = f" (what to do: {check.remedy})" if check.remedy else ""
    return f"{check.name} of {check.about}: {check.message}{remedy}"


def main() -> int:
    """Return 0 once every check passes, or 1 after one line that says which do not."""
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        sys.stderr.write(f"{MESSAGES.failed}: {error}\n")
        return 1
    logs.configure("WARNING", sys.stderr)
    clouds = connections(settings, may_write=False)
    return run(lambda store: observe(store, clouds.get), MESSAGES)


if __name__ == "__main__":
    sys.exit(main())
