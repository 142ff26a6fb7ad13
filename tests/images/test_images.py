"""The images themselves: what they hold, that they run as the chart runs them, that they repeat."""

import hashlib
import json
import subprocess
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.images import containerfile, sbom, stages
from openeni_lab.images.archive import ImageArchive
from openeni_lab.images.build import Source, build, make_base
from openeni_lab.images.command import tag
from openeni_lab.product.tree_images import make_tree_images
from openeni_lab.programs import prepared
from openeni_lab.progress import LogProgress
from openeni_lab.release import artifacts
from openeni_lab.release.artifacts import Publication
from openeni_testing.pages.release_files import release_files

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.images]

SOURCE = Source(BUNDLE_VERSION, "0" * 40, 1_700_000_000)
MOST_BYTES = 200_000_000
NONROOT = "65532:65532"
PROGRAMS = {"usr/bin/python", "usr/bin/python3", "usr/bin/python3.13"}
AGENTS = {"usr/sbin/nft", "usr/local/libexec/openeni"}
# A runtime's mounts: the root is read-only, and the agent has a network that it may change.
ENTER = (
    'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && mount -t proc proc "$1/proc" && '
    'root=$1 && user=$2 && shift 2 && exec chroot --userspec="$user" --groups= "$root" "$@"'
)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, ImageArchive]]:
    """Build the images twice, side by side, each time from empty storage."""
    make_base(LogProgress())

    def make(folder: Path) -> dict[str, ImageArchive]:
        return {image.path.stem: image for image in build(folder, SOURCE, LogProgress())}

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(make, [tmp_path_factory.mktemp("images") for _ in range(2)]))


@pytest.fixture(scope="module")
def images(builds: list[dict[str, ImageArchive]]) -> dict[str, ImageArchive]:
    return builds[0]


@pytest.fixture(scope="module")
def roots(
    images: dict[str, ImageArchive], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Path]]:
    found = {name: tmp_path_factory.mktemp(name) for name in images}
    for name, root in found.items():
        root.chmod(0o755)
        images[name].unpack(root)
    yield found
    for root in found.values():
        subprocess.run(["rm", "-rf", root], check=True, timeout=60)


def run(root: Path, user: str, *command: str, **environment: str) -> tuple[int, str]:
    """Run a command as a container would, in namespaces and on a root of its own."""
    done = subprocess.run(
        [
            *("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"),
            *("sh", "-c", ENTER, "enter", str(root), user, *command),
        ],
        env={"PATH": "/usr/bin:/usr/sbin:/bin:/sbin", "PYTHONDONTWRITEBYTECODE": "1"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", ["operator", "agent"])
def test_an_image_holds_no_program_but_its_own(images: dict[str, ImageArchive], name: str) -> None:
    files = images[name].files()
    executable = {
        member.name
        for member in files
        if "bin/" in member.name or (member.isfile() and member.mode & 0o111)
    }
    libraries = {path for path in executable if ".so" in path.rpartition("/")[2]}
    scripts = {path for path in executable if path.endswith(".py")}
    programs = PROGRAMS | AGENTS if name == "agent" else PROGRAMS
    assert executable - libraries - scripts - {"usr/bin/", "usr/sbin/"} == programs
    packages = {part for member in files for part in member.name.split("/")}
    assert packages & {"pip", "ensurepip", "dpkg.deb", "openeni_lab", "openeni_testing"} == set()


@pytest.mark.parametrize("name", ["operator", "agent"])
def test_files_are_roots_and_only_tmp_is_for_everybody(
    images: dict[str, ImageArchive], name: str
) -> None:
    files = images[name].files()
    assert {member.name for member in files if member.uid or member.gid} == set()
    assert {member.name for member in files if member.mode & 0o6000} == set()
    writable = {m.name.strip("/") for m in files if m.mode & 0o002 and not m.issym()}
    assert writable == {"tmp"}


@pytest.mark.parametrize("name", ["operator", "agent"])
def test_nothing_of_the_machine_is_in_an_image(images: dict[str, ImageArchive], name: str) -> None:
    names = {member.name for member in images[name].files()}
    assert names & {"etc/pip.conf", "run/certificates.crt", "etc/hosts", "etc/resolv.conf"} == set()
    assert {str(member.mtime) for member in images[name].files()} == {str(SOURCE.seconds)}


@pytest.mark.parametrize("name", ["operator", "agent"])
def test_an_image_is_small_labelled_and_layered_by_how_often_it_changes(
    images: dict[str, ImageArchive], name: str
) -> None:
    image, other = images[name], images["agent" if name == "operator" else "operator"]
    assert sum(member.size for member in image.files()) < MOST_BYTES
    assert image.layers()[0] == other.layers()[0]
    assert len(image.layers()) == (3 if name == "operator" else 4)
    config = image.configuration()["config"]
    labels = {k.rpartition(".")[2]: v for k, v in config["Labels"].items()}
    expected = {"title": f"openeni-{name}", "version": BUNDLE_VERSION, "revision": "0" * 40}
    expected |= {"created": "2023-11-14T22:13:20Z", "licenses": "Apache-2.0"}
    assert labels.items() >= expected.items()
    assert config.get("User", "") == (NONROOT if name == "operator" else "")


def test_the_operator_starts_as_nobody_on_a_read_only_root(roots: dict[str, Path]) -> None:
    code, output = run(roots["operator"], NONROOT, "python", "-m", "openeni_operator")
    assert (code, output.count("\n")) == (2, 1), output
    assert output.startswith("openeni-operator: no Kubernetes API server is configured")


def test_the_agent_starts_on_a_read_only_root(roots: dict[str, Path]) -> None:
    code, output = run(roots["agent"], "0:0", "python", "-m", "openeni_nodeagent")
    assert (code, output.count("\n")) == (2, 1), output
    assert output.startswith("openeni-agent: NODE_NAME")


@pytest.mark.parametrize("name", ["operator", "agent"])
def test_a_container_says_its_version_and_finds_certificates(
    images: dict[str, ImageArchive], roots: dict[str, Path], name: str
) -> None:
    command = images[name].configuration()["config"]["Cmd"]
    code, output = run(roots[name], NONROOT, *command, "--version")
    assert (code, output) == (0, f"openeni-{name} {BUNDLE_VERSION}\n")
    counted = "import ssl; print(len(ssl.create_default_context().get_ca_certs()) > 50)"
    code, output = run(roots[name], NONROOT, "python", "-c", counted)
    assert (code, output) == (0, "True\n")


def test_the_agents_nft_changes_a_kernel(roots: dict[str, Path]) -> None:
    """It reads the names of protocols and services, and its libraries are there."""
    rules = "table inet t { chain c { ip protocol icmp accept; tcp dport domain accept; }; }"
    code, output = run(roots["agent"], "0:0", "nft", "--echo", rules)
    assert code == 0, output
    assert "tcp dport 53 accept" in output


def test_the_cni_executable_is_in_the_agents_image(roots: dict[str, Path]) -> None:
    code, output = run(roots["agent"], NONROOT, "/usr/local/libexec/openeni", CNI_COMMAND="VERSION")
    assert code == 0
    assert '"1.1.0"' in output


@pytest.mark.parametrize(("name", "lock"), [("operator", "operator"), ("agent", "nodeagent")])
def test_the_sbom_names_every_package(
    images: dict[str, ImageArchive], tmp_path: Path, name: str, lock: str
) -> None:
    sbom.write(images[name], tmp_path / "image.spdx.json")
    named = {package.name for package in parse_file(str(tmp_path / "image.spdx.json")).packages}
    root = Path(__file__).parents[2]
    rows = (root / f"requirements-{lock}.lock").read_text().splitlines()
    locked = {row.split("==")[0] for row in rows if row[0].isalpha() and "win32" not in row}
    layers = ["debian.toml", *(["nodeagent.toml"] if name == "agent" else [])]
    folder = Path(str(stages.__file__)).parent
    debian = {p for n in layers for p in tomllib.loads((folder / n).read_text())["packages"]}
    assert (locked | debian | {"openeni", f"openeni-{name}"}) - named == set()


def contents(image: ImageArchive, without: int) -> dict[str, tuple[object, ...]]:
    """Return what a container sees of each path, but for the lowest layers."""
    found: dict[str, tuple[object, ...]] = {}
    layers: list[object] = []
    for layer, member in image.members():
        if layer not in layers:
            layers.append(layer)
        if len(layers) <= without:
            continue
        file = layer.extractfile(member) if member.isfile() else None
        digest = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
        name = member.name.rstrip("/")
        found[name] = (member.type, member.mode & 0o7777, member.uid, member.gid, digest)
    return found


def debian_versions(image: ImageArchive) -> dict[str, str]:
    return {c.name: c.version for c in sbom.components(image) if c.kind == "deb/debian"}


@pytest.mark.parametrize("name", ["operator", "agent"])
def test_the_labs_images_have_the_same_files_and_start_the_same_way(
    images: dict[str, ImageArchive], name: str
) -> None:
    made = make_tree_images(prepared.read(["images"]).built.images)
    (mine,) = (ImageArchive(image.path) for image in made if f"openeni-{name}:" in image.name)
    layers = containerfile.read(containerfile.PATH.read_text())[name].layers
    of_debian = len({"debian", "nodeagent-debian"} & {*layers})
    # What Debian has updated since `openeni-lab prepare` comes to the lab with the next one.
    without = 0 if debian_versions(mine) == debian_versions(images[name]) else of_debian
    assert contents(mine, without) == contents(images[name], without)
    assert contents(mine, of_debian)
    released = images[name].configuration()["config"]
    started = {key: released[key] for key in ("Env", "User", "Cmd") if released.get(key)}
    assert mine.configuration()["config"] == started


def test_two_builds_from_empty_storage_are_the_same_bytes(
    builds: list[dict[str, ImageArchive]],
) -> None:
    one, other = builds
    assert {n: i.layers() for n, i in one.items()} == {n: i.layers() for n, i in other.items()}
    assert {n: i.digest for n, i in one.items()} == {n: i.digest for n, i in other.items()}
    for name, image in one.items():
        assert image.path.read_bytes() == other[name].path.read_bytes()


def test_a_release_holds_every_file_and_its_sums_and_provenance_name_them(
    images: dict[str, ImageArchive], tmp_path: Path
) -> None:
    folder = tmp_path / "release"
    helm = prepared.read(["helm"]).built.bin("helm")
    artifacts.write(
        folder,
        list(images.values()),
        helm=helm,
        source=SOURCE,
        notes="# openeni",
        publication=Publication(),
    )
    built = {
        *(f"openeni-{n}-{BUNDLE_VERSION}.{e}" for n in images for e in ("tar", "spdx.json")),
        *(f"{chart}-{BUNDLE_VERSION}.tgz" for chart in ("openeni", "openeni-crds")),
        *("openeni.yaml", "RELEASE-NOTES.md"),
    }
    described = {"provenance.json", "provenance.dsse.json", "SHA256SUMS"}
    assert (
        {path.name for path in folder.iterdir()}
        == built | described
        == release_files(BUNDLE_VERSION)
    )
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=folder, check=True, timeout=60)
    assert len((folder / "SHA256SUMS").read_text().splitlines()) == len(built | described) - 1
    statement = json.loads((folder / "provenance.json").read_text())
    assert {one["name"] for one in statement["subject"]} == built
    for image in images.values():
        assert tag(image) in (folder / "RELEASE-NOTES.md").read_text()
