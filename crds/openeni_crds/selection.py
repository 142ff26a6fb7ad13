"""Which pool serves a pod: the one rule that operator (demand) and agent (grant) must share."""

from collections.abc import Iterable
from dataclasses import dataclass

from openeni_crds.enipool import ENIPool, Selection
from openeni_crds.names import ANNOTATION_POOL


@dataclass(frozen=True)
class PodFacts:
    """What decides a pod's pool."""

    labels: dict[str, str]
    annotations: dict[str, str]
    namespace_labels: dict[str, str]


@dataclass(frozen=True)
class NoPool:
    """No pool serves the pod; `why` is one line for its author."""

    why: str


def choose_pool(pod: PodFacts, pools: Iterable[ENIPool]) -> ENIPool | NoPool:
    """Return the pod's pool.

    Its annotation decides; else a matching selector, oldest pool first; else the Default pool.
    """
    ordered = sorted(pools, key=_age)
    asked = pod.annotations.get(ANNOTATION_POOL)
    if asked:
        return _named(asked, ordered)
    for pool in ordered:
        if selects(pool, pod):
            return pool
    default = default_pool(ordered)
    return default or NoPool(
        "no ENIPool selects this pod and none has spec.selection: Default; "
        f"set the annotation {ANNOTATION_POOL} or create a Default pool"
    )


def selects(pool: ENIPool, pod: PodFacts) -> bool:
    """Whether the pool's selectors match; an absent selector by itself matches nothing."""
    selectors = (
        (pool.spec.pod_selector, pod.labels),
        (pool.spec.namespace_selector, pod.namespace_labels),
    )
    given = [(selector, labels) for selector, labels in selectors if selector is not None]
    return bool(given) and all(selector.matches(labels) for selector, labels in given)


def default_pool(pools: Iterable[ENIPool]) -> ENIPool | None:
    """The Default pool in force: the oldest one that asks to be it."""
    asking = [p for p in pools if p.spec.selection == Selection.DEFAULT]
    return min(asking, key=_age, default=None)


def _named(name: str, pools: Iterable[ENIPool]) -> ENIPool | NoPool:
    found = next((p for p in pools if p.name == name), None)
    return found or NoPool(f"annotation {ANNOTATION_POOL}: there is no ENIPool {name!r}")


def _age(pool: ENIPool) -> tuple[str, str]:
    return pool.metadata.creation_timestamp, pool.name
