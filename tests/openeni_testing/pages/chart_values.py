"""What the chart's schema of values has: whether a key that somebody sets is one of the chart's."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, cast

from openeni_testing.objects import REPOSITORY

Json = dict[str, Any]

SCHEMA: Final[Json] = json.loads((REPOSITORY / "helm/openeni/values.schema.json").read_text())


def keys(values: Json, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each value in a file of values."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from keys(cast("Json", value), (*place, name))
        else:
            yield (*place, name)


def steps(key: str) -> Iterator[str]:
    """Yield the keys of a value's path; dots in a key are escaped for Helm."""
    yield from (step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", key))


def alternatives(schema: Json) -> Iterator[Json]:
    """Yield what a schema stands for: itself, what it refers to, each of several."""
    if "$ref" in schema:
        yield from alternatives(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from alternatives(one)
    yield schema


def has(schema: Json, path: list[str]) -> bool:
    """Return True if the chart's values may have this path."""
    if not path:
        return True
    for one in alternatives(schema):
        properties = one.get("properties", {})
        if path[0] in properties and has(properties[path[0]], path[1:]):
            return True
        if not properties and one.get("type") == "object" and one.get("additionalProperties", True):
            return True  # an object of Kubernetes
    return False
