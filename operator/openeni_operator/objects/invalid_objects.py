"""Keep objects that do not match their schema out of the cluster state, and report them."""

import logging
from typing import Final

import msgspec

from openeni_crds.meta import Json
from openeni_crds.names import Kind
from openeni_kube.store import object_key
from openeni_operator.cluster_state import ClusterState

LOG: Final = logging.getLogger(__name__)


def put_valid(state: ClusterState, kind: Kind, body: Json, *, only_update: bool = False) -> bool:
    """Put an object that the API server has into the cluster state.

    Log that it is ignored, and return False, if it does not match its schema.
    """
    try:
        state.put(kind, body, only_update=only_update)
    except msgspec.ValidationError as error:
        log_invalid(kind, body, error)
        return False
    return True


def log_invalid(kind: Kind, body: Json, error: msgspec.ValidationError) -> None:
    """Log that the object is ignored, why, and what to do about it."""
    LOG.warning(
        "%s %s is ignored, it does not match its schema: %s; delete it or upgrade the CRDs",
        kind.name,
        object_key(body),
        error,
    )
