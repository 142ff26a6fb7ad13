"""State how a release was built: an in-toto statement of SLSA provenance, not signed. Pure.

https://in-toto.io/Statement/v1, https://slsa.dev/spec/v1.1/provenance and, for the envelope that a
signer fills in, https://github.com/secure-systems-lab/dsse.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "https://slsa.dev/provenance/v1"
PAYLOAD: Final = "application/vnd.in-toto+json"
# Names, not pages: what `make release` does, and who runs it where nobody says so.
BUILD_TYPE: Final = "https://openeni.io/release/make-release/v1"
BUILDER: Final = "https://openeni.io/release/unnamed-builder"


@dataclass(frozen=True)
class Build:
    """One run of `make release`. Digests are SHA-256, in hexadecimal digits."""

    version: str
    revision: str  # the commit
    source: str  # the repository's address, or empty
    base: str  # the image of the build stage, or empty where Debian's archive replaces it
    builder: str
    dependencies: Mapping[str, str]  # digests of what was locked, by path
    products: Mapping[str, str]  # digests of what was built, by name


def statement(build: Build) -> Json:
    """Return the statement: what was built, from what, and how."""
    commit: Json = {"name": "source", "digest": {"gitCommit": build.revision}}
    if build.source:
        commit["uri"] = f"git+{build.source}"
    locked = [_descriptor(*one) for one in sorted(build.dependencies.items())]
    definition: Json = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"version": build.version, "base": build.base},
        "resolvedDependencies": [commit, *locked],
    }
    return {
        "_type": STATEMENT,
        "subject": [_descriptor(*one) for one in sorted(build.products.items())],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": definition,
            "runDetails": {"builder": {"id": build.builder or BUILDER}},
        },
    }


def envelope(payload: bytes) -> Json:
    """Return a DSSE envelope of a statement, without a signature: that is the publisher's."""
    encoded = base64.b64encode(payload).decode()
    return {"payloadType": PAYLOAD, "payload": encoded, "signatures": []}


def text(body: Json) -> str:
    """Return JSON that is the same for the same contents."""
    return json.dumps(body, indent=2, sort_keys=True) + "\n"


def _descriptor(name: str, digest: str) -> Json:
    return {"name": name, "digest": {"sha256": digest}}
