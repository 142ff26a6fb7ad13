"""What the pages say of a release's files is what `make release` writes."""

import re
import subprocess
from pathlib import Path

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.release import artifacts
from openeni_testing.objects import REPOSITORY
from openeni_testing.pages.release_files import release_files

PAGE = (REPOSITORY / "docs/air-gapped.md").read_text()


def test_the_page_of_releases_lists_what_describes_a_release() -> None:
    described = {artifacts.MANIFESTS, artifacts.NOTES, artifacts.SUMS}
    assert described | {artifacts.STATEMENT, artifacts.ENVELOPE} <= release_files("1.2.3")


def test_an_installation_without_the_internet_takes_files_that_a_release_has() -> None:
    commands = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"\bopeneni-[$\w.-]+\.(?:tar|tgz)\b|SHA256SUMS|openeni\.yaml", commands))
    assert len(named) >= 4
    for name in named:
        for image in ("operator", "agent"):
            file = name.replace("$version", "1.2.3").replace("$name", image)
            assert file in release_files("1.2.3"), name


def test_the_pages_command_puts_registry_and_digests_into_the_manifests(tmp_path: Path) -> None:
    (command,) = re.findall(r"^(sed -e .*?) \| kubectl apply", PAGE, re.MULTILINE | re.DOTALL)
    manifests = (REPOSITORY / "deploy/openeni.yaml").read_text()
    (tmp_path / "openeni.yaml").write_text(manifests)
    digests = {
        name: f"sha256:{letter * 64}" for name, letter in (("operator", "a"), ("agent", "b"))
    }
    for name, digest in digests.items():
        (tmp_path / f"{name}.digest").write_text(digest)
    done = subprocess.run(
        ["bash", "-euc", f"version={BUNDLE_VERSION} registry=inner.example; {command}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    images = set(re.findall(r"image: (\S+)", done.stdout))
    assert images == {f"inner.example/openeni-{n}@{digest}" for n, digest in digests.items()}
