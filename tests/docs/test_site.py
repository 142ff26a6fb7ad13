"""The site: its navigation, its links, what mkdocs is given to read. `make site` builds it."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import yaml

from openeni_docs.website import hooks
from openeni_docs.website.markdown import for_site
from openeni_docs.website.pages import (
    Entry,
    anchor,
    expanded,
    headings,
    listed,
    site_pages,
    without_fences,
)
from openeni_testing.objects import REPOSITORY
from openeni_testing.pages.blocks import PAGES, name_of

CONFIGURATION: Final[dict[str, Any]] = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
SITE: Final = site_pages(REPOSITORY)
LISTED: Final = list(listed(expanded(CONFIGURATION["nav"], SITE)))
SECTIONS: Final = (
    "Start",
    "Plan",
    "Concepts",
    "How-to",
    "Operate",
    "Reference",
    "Compare",
    "Security",
    "Inside",
)
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def test_the_navigation_has_every_page_once_and_no_other() -> None:
    assert sorted(LISTED) == sorted(SITE)


def test_the_navigation_has_the_nine_sections() -> None:
    assert [title for entry in CONFIGURATION["nav"] for title in entry] == [*SECTIONS]


def test_nothing_of_the_site_is_fetched_from_elsewhere() -> None:
    assert CONFIGURATION["strict"] is True
    assert CONFIGURATION["theme"]["font"] is False
    assert CONFIGURATION["plugins"] == ["search"]
    assert not {"analytics", "extra_javascript", "extra_css", "repo_url"} & {
        *CONFIGURATION,
        *CONFIGURATION["extra"],
    }
    assert {*CONFIGURATION["validation"]["nav"].values()} == {"warn"}
    assert {*CONFIGURATION["validation"]["links"].values()} == {"warn"}


@each_page
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    broken: list[str] = []
    for link in re.findall(r"\]\(([^)\s]+)\)", without_fences(page.read_text())):
        name, _, wanted = link.partition("#")
        if "://" in name:
            continue
        target = page.parent / name if name else page
        if not target.exists() or (wanted and wanted not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in headings(page.read_text())}


@each_page
def test_a_heading_that_is_linked_to_is_the_only_one_of_its_name(page: Path) -> None:
    """mkdocs and GitHub number equal headings in different ways."""
    found = [anchor(heading) for heading in headings(page.read_text())]
    twice = {name for name in found if found.count(name) > 1}
    path = page.relative_to(REPOSITORY)
    links = {
        link.rpartition("#")[2]
        for other in PAGES
        for link in re.findall(r"\]\(([^)\s]+#[^)\s]+)\)", other.read_text())
        if Path(link.partition("#")[0] or other.name).name == path.name
    }
    assert sorted(twice & links) == []


@pytest.mark.parametrize(
    "path", sorted(p for p in SITE if p.startswith(("howto/", "start/f", "plan/")))
)
def test_a_guide_ends_with_what_can_go_wrong(path: str) -> None:
    assert headings(SITE[path].read_text())[-1] == "What can go wrong"


@each_page
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    missing: list[str] = []
    for path, name in re.findall(r"`(tests/[\w./-]+)(?:::(\w+))?", page.read_text()):
        file = REPOSITORY / path
        if not file.exists() or (name and name not in functions(file)):
            missing.append(f"{path}::{name}")
    assert missing == []


def functions(file: Path) -> set[str]:
    body = ast.parse(file.read_text()).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_patterns_of_the_navigation_stand_for_pages_and_empty_sections_go() -> None:
    nav: list[Entry] = [{"A": "a.md"}, {"B": [{"Old": ["b/*.md"]}, {"None": ["c/*.md"]}]}, "d.md"]
    pages = ["a.md", "b/2.md", "b/1.md", "d.md"]
    assert expanded(nav, pages) == [{"A": "a.md"}, {"B": [{"Old": ["b/1.md", "b/2.md"]}]}, "d.md"]


@pytest.mark.parametrize(
    ("text", "converted"),
    [
        ("one\n- a\n- b", "one\n\n- a\n- b"),
        (
            "1. a\n   more\n\n   ```sh\n   x\n   ```\n2. b",
            "1. a\n    more\n\n    ```sh\n    x\n    ```\n2. b",
        ),
        ("- a\n  - b\n    c\n- d", "- a\n    - b\n        c\n- d"),
        ("one\n| a |\n|---|\n| `x\\|y` |", "one\n\n| a |\n|---|\n| `x|y` |"),
        ("```\n- a\none\n- b\n```", "```\n- a\none\n- b\n```"),
        (
            "1. a\n\n   <!-- hand: x -->\n   ```sh\n   x\n   ```",
            "1. a\n\n    ```sh\n    x\n    ```",
        ),
        ("- a\nlazy\n\nafter", "- a\n    lazy\n\nafter"),
    ],
)
def test_lists_tables_and_code_become_what_mkdocs_reads(text: str, converted: str) -> None:
    assert for_site(text, "page.md", {"page.md"}, ()) == converted


@pytest.mark.parametrize(
    ("page", "link", "converted"),
    [
        ("upgrade.md", "[log](../CHANGELOG.md)", "[log](project/CHANGELOG.md)"),
        ("howto/zones.md", "[up](../upgrade.md#versions)", "[up](../upgrade.md#versions)"),
        ("index.md", "![p](pictures/overview.svg)", "![p](pictures/overview.svg)"),
        ("project/CONTRIBUTING.md", "[d](docs/decisions/README.md)", "[d](../decisions/README.md)"),
        ("upgrade.md", "[code](../crds/openeni_crds/selection.py)", "code"),
        ("upgrade.md", "[gone](gone.md#x)", "[gone](gone.md#x)"),
        ("howto/zones.md", "[it](../../README.md#try-it)", "[it](../index.md)"),
        ("upgrade.md", "[all](examples/flux)", "all"),
        ("upgrade.md", "[k](https://kubernetes.io)", "[k](https://kubernetes.io)"),
        ("upgrade.md", "[here](#versions)", "[here](#versions)"),
        ("upgrade.md", "```\n[a](../none.md)\n```", "```\n[a](../none.md)\n```"),
    ],
)
def test_links_lead_to_their_place_in_the_site(page: str, link: str, converted: str) -> None:
    assert for_site(link, page, SITE, ["pictures/overview.svg"]) == converted


def test_a_page_of_which_a_browser_would_fetch_a_part_elsewhere_fails_the_build() -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    fine = '<a href="https://kubernetes.io">k</a><script src="assets/a.js"></script>'
    assert hooks.on_post_page(fine, page, None) == fine
    for tag in (
        '<script src="https://unpkg.com/a.js">',
        '<link rel="stylesheet" href="//fonts.example/a.css">',
        "<img alt=badge src=https://shields.example/a.svg>",
    ):
        with pytest.raises(ValueError, match="leads out of the site"):
            hooks.on_post_page(tag, page, None)


def test_mkdocs_is_given_every_page_and_githubs_anchors() -> None:
    configured = hooks.on_config({"nav": CONFIGURATION["nav"], "mdx_configs": {}})
    assert list(listed(configured["nav"])) == LISTED
    slug = configured["mdx_configs"]["toc"]["slugify"]
    assert slug("What `helm test` - and more - run", "-") == "what-helm-test---and-more---run"


def test_the_sites_packages_are_locked_with_hashes_in_the_versions_of_the_other_locks() -> None:
    text = (REPOSITORY / "requirements-docs.lock").read_text()
    own = versions("requirements-docs.lock")
    others = versions("requirements-dev.lock")
    assert len(re.findall(r"==[^\n]*\\\n    --hash=sha256:", text)) == len(own)
    assert "://" not in text
    assert {name: v for name, v in own.items() if others.get(name, v) != v} == {}
    assert {"mkdocs", "mkdocs-material"} <= {*own} - {*others}


def versions(lock: str) -> dict[str, str]:
    text = (REPOSITORY / lock).read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", text, re.MULTILINE))
