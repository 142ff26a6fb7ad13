"""Find out whether the node looks for its own addresses before openeni's rules lead packets away.

Pure. Who uses VRFs moves the kernel's rule 0 behind theirs (Documentation/networking/vrf.rst).
"""

from collections.abc import Iterable

from openeni_crds import names
from openeni_nodeagent.datapath.model import TABLE_LOCAL, Rule
from openeni_nodeagent.datapath_api import DatapathError


def require_local_rules(families: Iterable[int], others: Iterable[Rule]) -> None:
    """Raise DatapathError if what pods send to their node would leave by their ENI."""
    rules = [rule for rule in others if _is_for_all(rule)]
    for family in sorted(families):
        first = min((rule.priority for rule in rules if rule.family == family), default=None)
        if first is None or first >= names.RULE_ANSWER_V6:  # the first of ours
            found = "there is none" if first is None else f"the first is rule {first}"
            raise DatapathError(
                f"no IPv{family} rule for the table local precedes openeni's ({found}): pods of "
                f"this ENI and their node do not reach each other: "
                f"ip -{family} rule add pref 0 lookup local"
            )


def _is_for_all(rule: Rule) -> bool:
    return rule == Rule(rule.family, rule.priority, TABLE_LOCAL, protocol=rule.protocol)
