"""Report objects that the API server stores but that do not match their schema."""

import logging
from typing import Final

import msgspec

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.store import object_key

LOG: Final = logging.getLogger(__name__)


def log_invalid(kind: Kind, body: Json, error: msgspec.ValidationError) -> None:
    """Log that the object is ignored, why, and what to do about it."""
    LOG.warning(
        "%s %s is ignored, it does not match its schema: %s; delete it or upgrade the CRDs",
        kind.name,
        object_key(body),
        error,
    )
