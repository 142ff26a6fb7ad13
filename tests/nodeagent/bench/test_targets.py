"""Targets: what meets them, and how figures are shown."""

import xml.etree.ElementTree as ET

import pytest

from openeni_testing.node_bench.bar_chart import Bar, Chart, svg
from openeni_testing.node_bench.estimates import Estimate
from openeni_testing.node_bench.targets import Bound, Target, shown, target_table


@pytest.mark.parametrize(
    ("found", "bound", "limit", "verdict"),
    [
        (Estimate(1.6, 1.0, 2.0), Bound.AT_MOST, 1.6, "met"),
        (Estimate(1.61, 1.0, 2.0), Bound.AT_MOST, 1.6, "**missed**"),
        (Estimate(1.4, 1.0, 2.0), Bound.AT_LEAST, 1.4, "met"),
        (Estimate(1.39, 1.0, 2.0), Bound.AT_LEAST, 1.4, "**missed**"),
        (Estimate(1.3, 0.99, 2.0), Bound.NO_MORE, 1.0, "met"),
        (Estimate(1.3, 1.02, 2.0), Bound.NO_MORE, 1.0, "**missed**"),
        (Estimate(1.007, 1.005, 1.008), Bound.NO_MORE, 1.0, "met"),
        (Estimate(0.8, 0.7, 0.9), Bound.NO_MORE, 1.0, "met"),
        (Estimate(0.8, 0.7, 0.995), Bound.NO_LESS, 1.0, "met"),
        (Estimate(0.8, 0.7, 0.98), Bound.NO_LESS, 1.0, "**missed**"),
        (Estimate(1.3, 1.2, 1.4), Bound.NO_LESS, 1.0, "met"),
        (Estimate(9.0, 8.0, 10.0), None, 1.0, ""),
    ],
)
def test_the_figure_decides_and_where_nothing_shall_get_slower_its_interval(
    found: Estimate, bound: Bound | None, limit: float, verdict: str
) -> None:
    assert Target("ADD", "veth", found, bound, limit).verdict == verdict


def test_a_table_shows_figure_interval_target_and_verdict() -> None:
    target = Target("ADD", "veth", Estimate(0.241, 0.2, 0.3), Bound.AT_MOST, 0.25)
    assert target_table([target])[-1] == (
        "| ADD | veth | 0.24 x (0.20 to 0.30) | at most 0.25 x | met |"
    )
    assert target_table([Target("CPU", "veth", Estimate(1, 1, 1))])[-1].endswith("|  |  |")


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.50 ms"), (12.34, "12.3 ms"), (1234.5, "1234 ms")]
)
def test_figures_have_three_digits_or_so(value: float, text: str) -> None:
    assert shown(Estimate(value, value, value * 2), "ms").startswith(f"{text} (")


def test_an_interval_that_is_the_figure_itself_is_not_shown() -> None:
    assert shown(Estimate(0.834, 0.832, 0.8349)) == "0.83 x"
    assert shown(Estimate(0.834, 0.832, 0.836)) == "0.83 x (0.83 to 0.84)"


def test_a_chart_is_xml_with_a_bar_for_each_figure_within_its_frame() -> None:
    bars = [Bar("a & b", Estimate(2, 1, 3)), Bar("c", Estimate(4, 3, 8), 1)]
    root = ET.fromstring(svg(Chart("title", "ms", [bars, bars], limit=5)))  # noqa: S314 - our own
    space = "{http://www.w3.org/2000/svg}"
    drawn = root.findall(f"{space}rect")[1:]
    assert len(drawn) == 4
    widths = [float(r.attrib["width"]) for r in drawn]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    width = float(root.attrib["width"])
    assert all(float(line.attrib["x2"]) <= width for line in root.findall(f"{space}line"))
    texts = [text.text for text in root.findall(f"{space}text")]
    assert texts[:2] == ["title", "ms"]
    assert "a & b" in texts


def test_a_chart_without_figures_is_empty() -> None:
    assert "<svg" in svg(Chart("title", "ms", []))
