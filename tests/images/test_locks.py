"""What each image's lock holds: the product's dependencies of that image, and nothing else."""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGE_PYTHON = {"python_version": "3.13", "python_full_version": "3.13.5"}
OF_NO_AGENT = {"openstacksdk", "keystoneauth1", "kopf", "cryptography"}
OF_NO_IMAGE = {"rich", "typer", "uv", "pip", "spdx-tools", "pytest", "mypy", "ruff"}


def locked(name: str) -> dict[str, str]:
    """Return the versions by name, without what only other systems than Linux need."""
    lines = re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)(.*)$", (ROOT / name).read_text(), re.MULTILINE)
    return {package: version for package, version, marker in lines if "win32" not in marker}


def names_with_dependencies(wanted: Iterable[str]) -> set[str]:
    """Return the names that are needed on the images' Python, by the installed metadata."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        one = waiting.pop()
        for extra in ("", *one.extras):
            name = canonicalize_name(one.name)
            if (name, extra) in found:
                continue
            found.add((name, extra))
            needed = map(Requirement, requires(name) or ())
            environment = {**IMAGE_PYTHON, "extra": extra}
            waiting += [n for n in needed if not n.marker or n.marker.evaluate(environment)]
    return {name for name, _ in found}


@pytest.mark.parametrize("part", ["operator", "nodeagent"])
def test_an_images_lock_holds_what_its_program_needs_and_nothing_else(part: str) -> None:
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][part]]
    needed = names_with_dependencies(wanted)
    names = set(locked(f"requirements-{part}.lock"))
    assert needed - names == set()
    # The universal lock has what other versions of Python need as well.
    assert names - needed <= set(locked("requirements.lock"))
    assert len(names - needed) <= 2


@pytest.mark.parametrize("part", ["operator", "nodeagent"])
def test_an_image_has_the_versions_that_are_tested(part: str) -> None:
    tested = locked("requirements-dev.lock")
    assert {n: v for n, v in locked(f"requirements-{part}.lock").items() if tested[n] != v} == {}


def test_the_privileged_pod_has_no_client_of_a_cloud_and_no_image_has_developers_tools() -> None:
    operator, agent = (
        set(locked(f"requirements-{part}.lock")) for part in ("operator", "nodeagent")
    )
    assert (operator | agent) & OF_NO_IMAGE == set()
    assert agent & OF_NO_AGENT == set()
    assert operator >= OF_NO_AGENT


@pytest.mark.parametrize("part", ["operator", "nodeagent"])
def test_every_locked_package_has_hashes_and_no_address(part: str) -> None:
    text = (ROOT / f"requirements-{part}.lock").read_text()
    assert len(re.findall(r"==[^\n]*\\\n    --hash=sha256:", text)) == len(
        re.findall("==", re.sub(r" ;[^\n]*", "", text))
    )
    assert "://" not in text
