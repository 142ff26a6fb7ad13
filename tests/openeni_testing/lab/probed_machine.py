"""The facts that `openeni-lab prepare` finds on a machine that has everything."""

from openeni_lab.prepare.checks import ProbedMachine
from openeni_lab.prepare.probe import TRIALS

GOOD = ProbedMachine(
    system="Linux x86_64",
    python=(3, 11),
    capabilities=frozenset(range(41)),
    features=dict.fromkeys(["namespaces", *TRIALS], ""),
    cgroups="",
    memory_gib=16.0,
    cache_gib=50.0,
    state_gib=50.0,
    to_build=("kubernetes", "kernel"),
    packages=(),
    installable=True,
    registries={"Go modules": "", "Debian packages": ""},
    lab_exists=False,
    lab_name="default",
)
NO_IPVLAN = {**GOOD.features, "ipvlan": "Error: Unknown device type."}
