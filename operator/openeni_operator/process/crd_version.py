"""Compare the version of the installed CRDs with the operator's, once, when it starts."""

import logging
from collections.abc import Mapping
from typing import Final

from openeni_crds.names import (
    ANNOTATION_BUNDLE_VERSION,
    BUNDLE_VERSION,
    CRDS,
    ENIPOOLS,
    ENIS,
    PODIPS,
    crd_name,
)
from openeni_kube.store import Store, StoreError

LOG: Final = logging.getLogger(__name__)


def difference(found: Mapping[str, str], own: str = BUNDLE_VERSION) -> str:
    """Return one line about CRDs whose version is not the operator's, or an empty string.

    `found` has the version of each CRD by its name; "" stands for a CRD that names none.
    """
    versions = sorted({version or "unknown" for version in found.values()} - {own})
    if not versions:
        return ""
    names = ", ".join(sorted(name for name, version in found.items() if version != own))
    return (
        f"CRDs are of version {' and '.join(versions)}, this operator is {own}: helm upgrade with "
        f"crds.enabled, or apply crds/ of {own} ({names})"
    )


def installed_versions(store: Store) -> dict[str, str]:
    """Return the version of each CRD by its name. Raises StoreError."""
    names = [crd_name(kind) for kind in (ENIPOOLS, ENIS, PODIPS)]
    found = [store.get(CRDS, name)["metadata"] for name in names]
    return {m["name"]: m.get("annotations", {}).get(ANNOTATION_BUNDLE_VERSION, "") for m in found}


def report_difference(store: Store) -> None:
    """Log a warning if the CRDs are not of the operator's version; it goes on all the same."""
    try:
        line = difference(installed_versions(store))
    except StoreError as error:
        line = f"the version of the CRDs is not known: {error}"
    if line:
        LOG.warning("%s", line)
