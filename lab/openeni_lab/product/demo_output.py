"""Render the demo's times and its table of paths. Pure."""

from collections.abc import Iterable, Mapping

from rich.table import Table
from rich.text import Text

from openeni_lab.product.reach import CheckResult
from openeni_lab.programs.sets import Yardstick


def time_until_ready(seconds: float, preparation: float, yardstick: Yardstick | None) -> str:
    """Return how long it took until ready; compare a whole preparation with a part of it.

    The ratio is the same on slow and fast machines.
    """
    whole = seconds + preparation
    line = f"ready after {whole:.0f} s"
    if preparation:
        line += f" ({preparation:.0f} s of them preparation)"
    if yardstick and preparation > yardstick.seconds:  # it has built everything, that too
        times = f"{whole / yardstick.seconds:.1f} times as long"
        line += f", {times} as building kube-apiserver alone ({yardstick.seconds:.0f} s)"
    return line


def table(results: Mapping[str, Iterable[CheckResult]]) -> Table:
    """Return the table of results: a row for each path, a column for each datapath."""
    cells = {mode: {r.check.path: r for r in found} for mode, found in results.items()}
    drawn = Table(title="every path", title_justify="left")
    drawn.add_column("path")
    for mode in cells:
        drawn.add_column(mode)
    for path in dict.fromkeys(path for column in cells.values() for path in column):
        drawn.add_row(path, *(_cell(column.get(path)) for column in cells.values()))
    return drawn


def _cell(result: CheckResult | None) -> Text:
    if result is None:
        return Text("-")
    return Text("ok", "green") if result.ok else Text(f"FAILED {result.answer}", "red")
