"""Read from a checkout what has to agree before a release: versions, changes, generated files."""

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import yaml

from openeni_crds import schema
from openeni_crds.names import LABEL_VERSION
from openeni_lab.layout import REPOSITORY
from openeni_lab.product import manifests
from openeni_lab.release import version
from openeni_lab.release.consistency import Checkout

CHANGELOG: Final = "CHANGELOG.md"
LOCKS: Final = ("requirements-operator.lock", "requirements-nodeagent.lock")
GIT_SECONDS: Final = 30


class CheckoutError(Exception):
    """The checkout cannot be read. The text has the cause."""


def read(helm: Path, root: Path = REPOSITORY) -> Checkout:
    """Read a checkout. Raises CheckoutError, or ChartError if Helm cannot render the chart."""
    generated = (schema.files(root), manifests.files(helm, root))
    return Checkout(
        version=version.project_version(root),
        versions=version.found_versions(root),
        crd_versions=dict(_crd_versions(root)),
        changed=tuple(changed_paths(root)),
        stale=tuple(path for files in generated for path in files.differing()),
        changelog=(root / CHANGELOG).read_text(),
        today=datetime.now(UTC).date(),
    )


def changed_paths(root: Path) -> Iterator[str]:
    """Yield the paths that differ from the commit, or are not in it. Raises CheckoutError."""
    argv = ["git", "-C", str(root), "status", "--porcelain", "--no-renames", "-z"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CheckoutError(f"git status: {error}") from error
    if done.returncode:
        raise CheckoutError(f"git status: {done.stderr.strip()}: a release is made of a git clone")
    yield from (entry[3:] for entry in done.stdout.split("\0") if entry)


def _crd_versions(root: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((root / schema.FOLDER).glob("*.yaml")):
        labels = yaml.safe_load(path.read_text())["metadata"]["labels"]
        yield str(path.relative_to(root)), labels.get(LABEL_VERSION, "")
