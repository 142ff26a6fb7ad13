"""House rules that no linter checks: sizes, names, and what must not be in the tree."""

import ast
import re
import statistics
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "crds/openeni_crds",
    "kube/openeni_kube",
    "cli/openeni_cli",
    "operator/openeni_operator",
    "nodeagent/openeni_nodeagent",
)
CHART = "helm/openeni_chart"
DOCS = "docs/openeni_docs"
LAB = "lab/openeni_lab"
MODULE_LINES = 300
FOLDER_MODULES = 16
FUNCTION_LINES = 50
FORBIDDEN_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|manager|base|misc)(_|$)")


def modules(*folders: str) -> list[Path]:
    return [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "plugins" not in path.parts
    ]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout.split("\n")
    return [path for name in listed if name and (path := ROOT / name).is_file()]


def test_no_module_is_longer_than_the_budget() -> None:
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in modules(*PACKAGES, LAB, CHART, DOCS, "tests")
    }
    assert {name: size for name, size in sizes.items() if size > MODULE_LINES} == {}


def test_no_folder_holds_more_modules_than_the_budget() -> None:
    folders = Counter(
        str(path.parent.relative_to(ROOT))
        for path in modules(*PACKAGES, LAB, CHART, DOCS, "tests")
        if path.name != "__init__.py"
    )
    assert {name: count for name, count in folders.items() if count > FOLDER_MODULES} == {}


def test_the_median_module_of_the_product_is_small() -> None:
    sizes = [len(path.read_text().splitlines()) for path in modules(*PACKAGES)]
    assert statistics.median(s for s in sizes if s) <= 140


def test_no_function_is_longer_than_the_budget() -> None:
    found = [f for path in modules(*PACKAGES, LAB, CHART, DOCS, "tests") for f in functions(path)]
    assert {name: size for name, size in found if size > FUNCTION_LINES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    named = modules(*PACKAGES, LAB, CHART, DOCS, "tests")
    assert [str(p.relative_to(ROOT)) for p in named if FORBIDDEN_NAMES.search(p.stem)] == []


@pytest.mark.parametrize(
    "folder", ["operator", "nodeagent", "crds", "kube", "cli", "lab", "helm", "docs", "tests"]
)
def test_a_source_root_is_no_package(folder: str) -> None:
    """An __init__.py in operator/ would replace the standard library's module."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_tests_are_no_packages() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
    texts = [p for p in tracked() if p.suffix in {".py", ".md", ".c", ".sh", ".yaml", ".toml"}]
    assert [str(p.relative_to(ROOT)) for p in texts if marks.search(p.read_text())] == []


def test_no_path_of_one_machine_and_no_registry_stands_in_the_tree() -> None:
    place = re.compile(
        r"(^|[^A-Za-z0-9._-])/(work|farm|root)/|"
        r"pypi\.or" + r"g|proxy\.golan" + r"g|deb\.debia" + r"n|registry\.npm"
    )
    found: list[str] = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        if path.name != "test_layout.py" and place.search(text):
            found.append(str(path.relative_to(ROOT)))
    assert found == []


def test_the_architecture_page_lists_every_module_and_no_other() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    listed = re.findall(r"^\| `([a-z0-9_/]+\.py)` \|", text, re.MULTILINE)
    found = [
        str(path.relative_to(ROOT / folder))
        for folder in (*PACKAGES, LAB, CHART, DOCS)
        for path in modules(folder)
        if path.stat().st_size
    ]
    assert sorted(listed) == sorted(found)
