"""Field and label selectors, as far as openeni uses them: comparisons joined by commas."""

from collections.abc import Callable, Iterator

from openeni_crds.display import SELECTABLE
from openeni_crds.meta import Json
from openeni_crds.names import GROUP, Kind
from openeni_kube.store import InvalidError

Test = Callable[[Json], bool]


def build_selector(kind: Kind, field_selector: str, label_selector: str) -> Test:
    """Return a test of whether an object is selected; raise InvalidError for unknown fields."""
    fields = [(name, word, value) for name, word, value in _terms(field_selector)]
    for name, _, _ in fields:
        _check_field(kind, name)
    labels = list(_terms(label_selector))

    def selects(body: Json) -> bool:
        own = body["metadata"].get("labels", {})
        return all(_holds(_at(body, name) or "", word, value) for name, word, value in fields) and (
            all(_holds(own.get(name), word, value) for name, word, value in labels)
        )

    return selects


def _check_field(kind: Kind, name: str) -> None:
    allowed = {"metadata.name", "metadata.namespace"}
    allowed |= {path.removeprefix(".") for path in SELECTABLE.get(kind.name, ())}
    if kind.group == GROUP and name not in allowed:
        raise InvalidError(400, f"field label not supported: {name}")


def _terms(selector: str) -> Iterator[tuple[str, str, str]]:
    """Yield (name, "=", "!=", "has" or "lacks", value)."""
    for term in filter(None, selector.split(",")):
        if "!=" in term:
            name, value = term.split("!=")
            yield name, "!=", value
        elif "=" in term:
            name, value = term.replace("==", "=").split("=")
            yield name, "=", value
        else:
            yield term.removeprefix("!"), "lacks" if term.startswith("!") else "has", ""


def _holds(found: str | None, word: str, value: str) -> bool:
    outcomes = {
        "=": found == value,
        "!=": found != value,
        "has": found is not None,
        "lacks": found is None,
    }
    return outcomes[word]


def _at(body: Json, name: str) -> str | None:
    found: object = body
    for step in name.split("."):
        found = found.get(step) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] # JSON
    return None if found is None else str(found)  # pyright: ignore[reportUnknownArgumentType] # JSON
