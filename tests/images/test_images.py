"""The images themselves: what they hold, that they run as the chart runs them, that they repeat."""

import hashlib
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from spdx_tools.spdx.parser.parse_anything import parse_file

from openeni_lab.images import sbom, stages
from openeni_lab.images.archive import ImageArchive
from openeni_lab.images.build import Source, build
from openeni_lab.product.tree_images import make_tree_images
from openeni_lab.programs import prepared
from openeni_lab.progress import LogProgress

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.images]

SOURCE = Source("0.1.0", "0" * 40, 1_700_000_000)
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
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImageArchive]:
    folder = tmp_path_factory.mktemp("images")
    return {image.path.stem: image for image in build(folder, SOURCE, LogProgress())}


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
    expected = {"title": f"openeni-{name}", "version": "0.1.0", "revision": "0" * 40}
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
    roots: dict[str, Path], name: str
) -> None:
    said = "import importlib.metadata as m, ssl; print(m.version('openeni'))"
    counted = "print(len(ssl.create_default_context().get_ca_certs()) > 50)"
    code, output = run(roots[name], NONROOT, "python", "-c", f"{said}; {counted}")
    assert (code, output.split()) == (0, ["0.1.0", "True"])


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
    text = (root / f"requirements-{lock}.lock").read_text()
    locked = {line.split("==")[0] for line in text.splitlines() if line[0].isalpha()}
    layers = ["debian.toml", *(["nftables.toml"] if name == "agent" else [])]
    folder = Path(str(stages.__file__)).parent
    debian = {p for n in layers for p in tomllib.loads((folder / n).read_text())["packages"]}
    assert (locked | debian | {"openeni", f"openeni-{name}"}) - named == set()


def contents(image: ImageArchive) -> dict[str, tuple[object, ...]]:
    """Return what a container sees of each path."""
    found: dict[str, tuple[object, ...]] = {}
    for layer, member in image.members():
        file = layer.extractfile(member) if member.isfile() else None
        digest = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
        name = member.name.rstrip("/")
        found[name] = (member.type, member.mode & 0o7777, member.uid, member.gid, digest)
    return found


@pytest.mark.parametrize("name", ["operator", "agent"])
def test_the_labs_images_have_the_same_files_and_start_the_same_way(
    images: dict[str, ImageArchive], name: str
) -> None:
    made = make_tree_images(prepared.read(["images"]).built.images)
    (mine,) = (ImageArchive(image.path) for image in made if f"openeni-{name}:" in image.name)
    assert contents(mine) == contents(images[name])
    released = images[name].configuration()["config"]
    started = {key: released[key] for key in ("Env", "User", "Cmd") if released.get(key)}
    assert mine.configuration()["config"] == started


def test_two_builds_from_clean_storage_are_the_same_bytes(
    images: dict[str, ImageArchive], tmp_path: Path
) -> None:
    again = build(tmp_path, SOURCE, LogProgress())
    assert {i.path.stem: i.layers() for i in again} == {n: i.layers() for n, i in images.items()}
    assert {i.path.stem: i.digest for i in again} == {n: i.digest for n, i in images.items()}
    for image in again:
        assert image.path.read_bytes() == images[image.path.stem].path.read_bytes()
