"""Hooks of mkdocs (its setting `hooks`): `make site` builds the site with them.

mkdocs is installed for this alone, so nothing of it is imported before a hook is called.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from openeni_docs.website.markdown import for_site
from openeni_docs.website.pages import PROJECT, anchor, expanded, site_pages

REPOSITORY: Final = Path(__file__).parents[3]
_ELSEWHERE: Final = re.compile(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=\"?(?:https?:)?//")


def on_config(config: Any) -> Any:
    """Expand the navigation's patterns; give headings the anchors that GitHub gives them."""
    config["nav"] = expanded(config["nav"], site_pages(REPOSITORY))
    config["mdx_configs"].setdefault("toc", {})["slugify"] = _slug
    return config


def _slug(heading: str, _separator: str) -> str:
    return anchor(heading)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand at the top of the repository."""
    file = import_module("mkdocs.structure.files").File
    for path, source in site_pages(REPOSITORY).items():
        if path.startswith(f"{PROJECT}/"):
            files.append(file.generated(config, path, content=source.read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001 - mkdocs' signature
    """Return the page's text as mkdocs reads it."""
    others = {file.src_uri for file in files if not file.is_documentation_page()}
    return for_site(markdown, page.file.src_uri, site_pages(REPOSITORY).keys(), others)


def on_post_page(output: str, page: Any, config: Any) -> str:  # noqa: ARG001 - mkdocs' signature
    """Return the page. Raises ValueError if a browser would fetch a part of it from elsewhere."""
    if found := _ELSEWHERE.search(output):
        raise ValueError(f"{page.file.src_uri}: {found[0]} leads out of the site")
    return output
