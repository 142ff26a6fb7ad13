"""Draw a chart of horizontal bars with their intervals, as SVG. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from openeni_testing.node_bench.estimates import Estimate

WIDTH: Final = 760
_LABELS: Final = 250  # the width of their column
_FIGURES: Final = 90
_ROW, _GAP, _TOP = 18, 12, 46
_COLOURS: Final = ("#2b6cb0", "#a0aec0", "#dd6b20", "#38a169", "#805ad5")
_LINE: Final = '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"{}/>'


@dataclass(frozen=True)
class Bar:
    label: str
    found: Estimate
    colour: int = 0  # bars of one kind have one


@dataclass(frozen=True)
class Chart:
    """Groups of bars on one scale, with a line at the `limit` if there is one."""

    title: str
    unit: str
    groups: Sequence[Sequence[Bar]]
    limit: float | None = None


def svg(chart: Chart) -> str:
    """Return the chart as the text of an SVG file, on white: dark pages show it, too."""
    bars = [bar for group in chart.groups for bar in group]
    most = max([bar.found.high for bar in bars] + [chart.limit or 0.0]) or 1.0
    scale = (WIDTH - _LABELS - _FIGURES) / most
    rows: list[str] = []
    y = float(_TOP)
    for group in chart.groups:
        for bar in group:
            rows += _bar(bar, y, scale)
            y += _ROW
        y += _GAP
    if chart.limit is not None:
        x = _LABELS + chart.limit * scale
        rows.append(_LINE.format(x, _TOP - 6, x, y - _GAP, "#c53030", ' stroke-dasharray="4 3"'))
    size = f'width="{WIDTH}" height="{y:.0f}"'
    space = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}"'
    lines = [
        f'<svg {space} {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="#ffffff"/>',
        _text(12, 20, chart.title, ' font-size="14" font-weight="bold"'),
        _text(12, 36, chart.unit, ' fill="#4a5568"'),
        *rows,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bar(bar: Bar, y: float, scale: float) -> list[str]:
    low, value, high = (
        _LABELS + n * scale for n in (bar.found.low, bar.found.value, bar.found.high)
    )
    middle, height = y + _ROW / 2 - 2, _ROW - 5
    size = f'x="{_LABELS}" y="{y:.1f}" width="{value - _LABELS:.1f}" height="{height}"'
    return [
        _text(_LABELS - 8, y + _ROW - 7, bar.label, ' text-anchor="end"'),
        f'<rect {size} fill="{_COLOURS[bar.colour % len(_COLOURS)]}"/>',
        _LINE.format(low, middle, high, middle, "#1a202c", ""),
        *(_LINE.format(x, middle - 3, x, middle + 3, "#1a202c", "") for x in (low, high)),
        _text(max(value, high) + 6, y + _ROW - 7, f"{bar.found.value:.3g}", ""),
    ]


def _text(x: float, y: float, text: str, attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(text)}</text>'
