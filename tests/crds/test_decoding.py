"""The first decode of a type, by several threads at once, must not end the process."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from openeni_crds.meta import decode

ROOT = Path(__file__).parents[2]
SOURCES = ("crds/openeni_crds", "operator/openeni_operator", "nodeagent/openeni_nodeagent")
PROCESSES = 5  # without `decodable`, five of six died

# Every type that operator and agent decode, and the CNI configuration, from nine threads at once.
RACE = """
import sys, threading
from pathlib import Path
import yaml
from openeni_crds import meta
from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.podip import PodIP
from openeni_nodeagent.cluster import objects as kube
from openeni_nodeagent.cni import parsing

sys.setswitchinterval(1e-6)
examples = {
    ENI: "tests/crds/samples/eni",
    PodIP: "tests/crds/samples/podip",
    ENIPool: "docs/examples/enipool-settings",
}
def body(model):
    if model in examples:
        return yaml.safe_load(Path(f"{examples[model]}.yaml").read_text())
    return {"name": "n", "metadata": {"name": "n"}, "spec": {"cidrs": []}, "status": {}}
bodies = {model: body(model) for model in [*meta._DECODABLE, *examples]}
calls = [lambda m=m, b=b: meta.decode(b, m) for m, b in bodies.items()]
config = b'{"cniVersion": "1.1.0", "name": "openeni", "cni.dev/valid-attachments": []}'
calls.append(lambda: parsing.parse({"CNI_COMMAND": "GC", "CNI_PATH": "/"}, config))
go = threading.Barrier(3 * len(calls))
failed = []
def run(call):
    go.wait()
    try:
        for _ in range(20):
            call()
    except Exception as error:
        failed.append(error)
threads = [threading.Thread(target=run, args=[call]) for call in calls * 3]
[t.start() for t in threads]
[t.join() for t in threads]
sys.exit(str(failed) if failed else 0)
"""


def test_many_threads_may_decode_their_first_object_at_once() -> None:
    ends = Counter(
        subprocess.run(
            [sys.executable, "-c", RACE],
            cwd=ROOT,
            env={"PYTHONPATH": "crds:kube:operator:nodeagent"},
            check=False,
            capture_output=True,
            timeout=60,
        ).returncode
        for _ in range(PROCESSES)
    )
    assert ends == {0: PROCESSES}


def test_a_type_that_was_not_prepared_is_refused() -> None:
    class Stray(msgspec.Struct):
        name: str

    with pytest.raises(TypeError, match="Stray is not marked as decodable"):
        decode({"name": "a"}, Stray)


def test_types_are_prepared_at_import_and_nowhere_else() -> None:
    """`convert` and typed `decode` prepare a type at its first use; a Decoder when it is made."""
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for folder in SOURCES
        for path in (ROOT / folder).rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef) and path.name != "meta.py"
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and _prepares(call)
    ]
    assert found == []


def _prepares(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    typed = any(k.arg == "type" for k in call.keywords)
    return name in {"msgspec.convert", "msgspec.json.Decoder"} or (
        name == "msgspec.json.decode" and typed
    )
