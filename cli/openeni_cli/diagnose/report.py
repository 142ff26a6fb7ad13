"""What `openeni diagnose` reports. Pure."""

from collections.abc import Mapping

from msgspec import Struct

from openeni_kube.answers import Diagnosis, Difference


class DiagnoseReport(Struct, frozen=True, rename="camel"):
    """The differences, first those that the operator sees, and what could not be looked at."""

    differences: tuple[Difference, ...]
    compared: dict[str, dict[str, int]]  # how many of each, by who compared them
    unread: tuple[str, ...]


def joined(answers: Mapping[str, Diagnosis], unread: tuple[str, ...]) -> DiagnoseReport:
    """Join the answers of the operator and of agents; each difference is there once."""
    found = dict.fromkeys(d for answer in answers.values() for d in answer.differences)
    return DiagnoseReport(
        tuple(found),
        {who: answer.compared for who, answer in answers.items()},
        (*unread, *(text for answer in answers.values() for text in answer.unread)),
    )
