"""Write the pages of docs that are made from the code.

`PYTHONPATH=docs python -m openeni_docs` writes them; with `--check` it only names what is out of
date.
"""

import sys
from pathlib import Path
from typing import Final

from openeni_crds.generated_files import GeneratedFiles
from openeni_docs import alerts, cli, conditions, events, features, lifecycle, metrics
from openeni_docs.pictures.drawings import drawings
from openeni_docs.reference import cloud_calls, crds, environment, names, node

REPOSITORY: Final = Path(__file__).parents[2]


def files(root: Path = REPOSITORY) -> GeneratedFiles:
    """Return all pages, of the repository at `root`."""
    pages = (
        cli,
        conditions,
        events,
        features,
        lifecycle,
        metrics,
        cloud_calls,
        crds,
        environment,
        names,
        node,
    )
    texts = {_path(page.__name__): page.page() for page in pages}
    texts |= {f"docs/alerts/{name}.md": text for name, text in alerts.pages().items()}
    texts |= {f"docs/pictures/{name}": text for name, text in drawings().items()}
    command = "PYTHONPATH=docs python -m openeni_docs"
    return GeneratedFiles(root, texts, "the code", command)


def _path(module: str) -> str:
    """Return the page of a module, such as docs/reference/cloud-calls.md."""
    return f"docs/{'/'.join(module.split('.')[1:]).replace('_', '-')}.md"


if __name__ == "__main__":
    sys.exit(files().run())
