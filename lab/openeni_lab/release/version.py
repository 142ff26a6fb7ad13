"""Write the version of pyproject.toml, where people change it, into the other files that have it.

`python -m openeni_lab.release.version` writes them; with `--check` it only names what is out of
date.
"""

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from openeni_crds.generated_files import GeneratedFiles
from openeni_lab.layout import REPOSITORY

PROJECT: Final = "pyproject.toml"
CODE: Final = "crds/openeni_crds/names.py"
_IN_CODE: Final = re.compile(r'^(BUNDLE_VERSION: Final = ")([^"]+)', re.MULTILINE)
# Of a chart, and of the charts that it is made of: all of a release have its version.
_IN_CHART: Final = re.compile(r"^( *(?:version|appVersion): )(\S+)$", re.MULTILINE)
# The chart's, as Argo CD and Flux name it.
_IN_EXAMPLE: Final = re.compile(r"^( *(?:targetRevision|tag): )(\d\S*)$", re.MULTILINE)
EXAMPLES: Final = ("docs/examples/argocd/openeni.yaml", "docs/examples/flux/release.yaml")


def project_version(root: Path = REPOSITORY) -> str:
    """Return the version in pyproject.toml."""
    return str(tomllib.loads((root / PROJECT).read_text())["project"]["version"])


def found_versions(root: Path = REPOSITORY) -> Mapping[str, tuple[str, ...]]:
    """Return the versions that each of the other files has, by its path."""
    return {
        path: tuple(match[2] for match in pattern.finditer((root / path).read_text()))
        for path, pattern in _places(root).items()
    }


def files(root: Path = REPOSITORY) -> GeneratedFiles:
    """Return these files with the project's version, of the repository at `root`."""
    version = project_version(root)
    texts = {
        path: pattern.sub(rf"\g<1>{version}", (root / path).read_text())
        for path, pattern in _places(root).items()
    }
    return GeneratedFiles(root, texts, PROJECT, "python -m openeni_lab.release.version")


def _places(root: Path) -> Mapping[str, re.Pattern[str]]:
    charts = sorted((root / "helm").rglob("Chart.yaml"))
    return {
        CODE: _IN_CODE,
        **{str(path.relative_to(root)): _IN_CHART for path in charts},
        **dict.fromkeys(EXAMPLES, _IN_EXAMPLE),
    }


if __name__ == "__main__":
    sys.exit(files().run())
