"""Draw boxes, lines and texts as SVG, on a grid of 10 pixels. Pure.

The pictures follow the reader's light or dark theme: they have no background, and colours that are
legible on both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias

_UNIT: Final = 10
_LINE: Final = 16  # pixels between two lines of a text
_FONT: Final = "font-family='sans-serif' font-size='13' fill='#7a8290'"
_STROKE: Final = "#7a8290"
COLOURS: Final = {
    "cluster": "#3f72c4",
    "cloud": "#b0472f",
    "node": "#5a8f3c",
    "pod": "#8456b8",
    "plain": "none",
}


@dataclass(frozen=True)
class Box:
    """A rectangle with a text: around the text, or above what stands in it (`frame`)."""

    x: int
    y: int
    width: int
    height: int
    text: str = ""
    colour: str = "plain"
    frame: bool = False


@dataclass(frozen=True)
class Line:
    """A line through points of the grid; an arrow unless it is a link."""

    points: tuple[tuple[int, int], ...]
    text: str = ""
    at: tuple[int, int] | None = None  # of the text; otherwise beside the middle of the line
    arrow: bool = True
    dashed: bool = False


@dataclass(frozen=True)
class Text:
    """Lines of text that begin at a point."""

    x: int
    y: int
    text: str


Shape: TypeAlias = Box | Line | Text


def picture(title: str, width: int, height: int, shapes: Iterable[Shape]) -> str:
    """Return an SVG document; the title is what a screen reader says."""
    size = f"width='{width * _UNIT}' height='{height * _UNIT}'"
    view = f"viewBox='0 0 {width * _UNIT} {height * _UNIT}'"
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' {size} {view} role='img' {_FONT}>\n"
        f"<title>{escape(title)}</title>\n"
        "<defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='7' "
        "markerHeight='7' orient='auto-start-reverse'>"
        f"<path d='M 0 0 L 10 5 L 0 10 z' fill='{_STROKE}'/></marker></defs>\n"
    )
    return head + "".join(map(_drawn, shapes)) + "</svg>\n"


def _drawn(shape: Shape) -> str:
    if isinstance(shape, Box):
        return _box(shape)
    if isinstance(shape, Line):
        return _line(shape)
    return _lines(shape.text, shape.x * _UNIT, shape.y * _UNIT, "start")


def _box(box: Box) -> str:
    colour = COLOURS[box.colour]
    fill = "none" if box.frame or colour == "none" else colour
    edge = _STROKE if colour == "none" else colour
    x, y, width, height = (n * _UNIT for n in (box.x, box.y, box.width, box.height))
    drawn = (
        f"<rect x='{x}' y='{y}' width='{width}' height='{height}' rx='6' fill='{fill}' "
        f"fill-opacity='0.15' stroke='{edge}'/>\n"
    )
    if box.frame:
        return drawn + _lines(box.text, x + _UNIT, y + 18, "start")
    rows = box.text.count("\n")
    top = y + height // 2 + 5 - rows * _LINE // 2
    return drawn + _lines(box.text, x + width // 2, top, "middle")


def _line(line: Line) -> str:
    points = " ".join(f"{x * _UNIT},{y * _UNIT}" for x, y in line.points)
    tip = " marker-end='url(#tip)'" if line.arrow else ""
    dash = " stroke-dasharray='5 4'" if line.dashed else ""
    drawn = f"<polyline points='{points}' fill='none' stroke='{_STROKE}'{dash}{tip}/>\n"
    if not line.text:
        return drawn
    (x1, y1), (x2, y2) = line.points[0], line.points[-1]
    x, y = line.at or ((x1 + x2) // 2, (y1 + y2) // 2)
    return drawn + _lines(line.text, x * _UNIT + 8, y * _UNIT - 4, "start")


def _lines(text: str, x: int, y: int, anchor: str) -> str:
    if not text:
        return ""
    rows = "".join(
        f"<tspan x='{x}' y='{y + number * _LINE}'>{escape(row)}</tspan>"
        for number, row in enumerate(text.split("\n"))
    )
    return f"<text text-anchor='{anchor}'>{rows}</text>\n"
