"""Compare the installed CRDs with those of the operator's build, once, when it starts."""

import logging
from collections.abc import Mapping
from typing import Final

from openeni_crds.names import ANNOTATION_BUNDLE_VERSION, CRDS, crd_version
from openeni_kube.store import Store, StoreError
from openeni_operator.process.crd_digests import DIGESTS

LOG: Final = logging.getLogger(__name__)
OWN: Final = {name: crd_version(digest) for name, digest in DIGESTS.items()}


def difference(found: Mapping[str, str], own: Mapping[str, str] = OWN) -> str:
    """Return one line about CRDs whose version is not the operator's, or an empty string.

    Both have the version of each CRD by its name; "" stands for a CRD that names none.
    """
    differing = ", ".join(
        f"{name} is {found[name] or 'unknown'} instead of {own[name]}"
        for name in sorted(found)
        if found[name] != own[name]
    )
    if not differing:
        return ""
    return (
        f"the CRDs are not those of this operator's build: {differing}: helm upgrade with "
        "crds.enabled, or apply crds/, from the source that the images were built of"
    )


def installed_versions(store: Store) -> dict[str, str]:
    """Return the version of each CRD by its name. Raises StoreError."""
    found = [store.get(CRDS, name)["metadata"] for name in OWN]
    return {m["name"]: m.get("annotations", {}).get(ANNOTATION_BUNDLE_VERSION, "") for m in found}


def report_difference(store: Store) -> bool:
    """Return True, and log a warning, if the CRDs are not of the operator's version.

    It goes on all the same.
    """
    try:
        line = difference(installed_versions(store))
    except StoreError as error:
        LOG.warning("the version of the CRDs is not known: %s", error)
        return False
    if line:
        LOG.warning("%s", line)
    return bool(line)
