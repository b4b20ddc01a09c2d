"""Plots as SVG files that stand by themselves: text and lines, no script, the same bytes for the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from vicur.evaluation.ablation.curves import Curve
from vicur.evaluation.report.scales import Scale, round_scale

# Okabe and Ito's colours, which people with any colour vision tell apart, and two greys.
COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f3c8d",
    "#666666",
    "#a65628",
    "#999933",
    "#222222",
)
_DASHES = ("", "7 4", "2 3", "9 3 2 3")
_TEXT, _FAINT = "#333333", "#dddddd"
_STYLE = "font-family:system-ui,sans-serif;font-size:12px"


@dataclass(frozen=True)
class Box:
    """A place on the page, in pixels."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class LinePanel:
    """Curves over the steps.

    Attributes:
        title: its heading.
        curves: what is drawn, each with its colour and dashes (places in ``COLOURS`` and in the four dashes).
        percent: whether values are shares.
        include: values that the axis must hold.
        band: whether the standard deviation is drawn.
    """

    title: str
    curves: Sequence[tuple[Curve, int, int]]
    percent: bool = False
    include: tuple[float, ...] = ()
    band: bool = True


def line_plot(panels: Sequence[LinePanel], *, columns: int, legend: Sequence[tuple[str, int, int]], note: str) -> str:
    """Panels in rows, with one legend (name, colour, dashes) above them.

    All panels of more than one share the axis of values, so that they can be compared.
    """
    width, height, gap = (720.0, 320.0, 0.0) if len(panels) == 1 else (300.0, 180.0, 20.0)
    values = [bound for panel in panels for drawn in panel.curves for bound in _bounds(drawn[0], panel)]
    y = round_scale(values, include=panels[0].include)
    last = max(max(drawn[0].steps) for panel in panels for drawn in panel.curves)
    ticks = tuple(tick for tick in round_scale([0.0, last]).ticks if tick <= last)
    x = Scale(0.0, last, ticks)
    columns = min(columns, len(panels))
    page_width = columns * (width + 60) + (columns - 1) * gap + 20
    rows, legend_height = _legend(legend, page_width)
    parts = [rows]
    for n, panel in enumerate(panels):
        row, column = divmod(n, columns)
        box = Box(60 + column * (width + 60 + gap), legend_height + 30 + row * (height + 70), width, height)
        parts.append(_line_panel(panel, box, x, y))
    page_height = legend_height + 30 + ((len(panels) - 1) // columns + 1) * (height + 70)
    return _page(parts, page_width, page_height, note)


def _bounds(curve: Curve, panel: LinePanel) -> list[float]:
    if not panel.band:
        return list(curve.mean)
    pairs = list(zip(curve.mean, curve.std, strict=True))
    return [m - s for m, s in pairs] + [m + s for m, s in pairs]


def _line_panel(panel: LinePanel, box: Box, x: Scale, y: Scale) -> str:
    parts = [_axes(panel.title, box, x, y, percent=panel.percent)]
    for drawn, colour, dash in panel.curves:
        places = [x.place(step) for step in drawn.steps]
        if panel.band and any(drawn.std):
            upper = [(at, y.place(m + s)) for at, m, s in zip(places, drawn.mean, drawn.std, strict=True)]
            lower = [(at, y.place(m - s)) for at, m, s in zip(places, drawn.mean, drawn.std, strict=True)]
            parts.append(
                f'<path d="{_in_box([*upper, *reversed(lower)], box)}Z" fill="{COLOURS[colour]}" opacity="0.12"/>'
            )
        line = _in_box([(at, y.place(m)) for at, m in zip(places, drawn.mean, strict=True)], box)
        parts.append(f'<path d="{line}" fill="none" stroke="{COLOURS[colour]}" stroke-width="1.8"{_dash(dash)}/>')
    return "".join(parts)


@dataclass(frozen=True)
class DotRow:
    """One row of a plot of dots: a dot a seed, and the mean as a tick."""

    name: str
    values: tuple[float, ...]
    mean: float


def dot_plot(panels: Sequence[tuple[str, Sequence[DotRow], float]], *, note: str) -> str:
    """Accuracies of arms (title, rows, the base as a vertical line), the panels side by side over the same rows."""
    width, line, label = 260.0, 22.0, 170.0
    rows = len(panels[0][1])
    height = rows * line
    parts = []
    for n, (title, dots, base) in enumerate(panels):
        box = Box(label + n * (width + 40), 30, width, height)
        x = round_scale([base, *(value for row in dots for value in row.values)])
        parts.append(_axes(title, box, x, None, percent=True))
        at = _x(x.place(base), box)
        parts.append(f'<path d="M{at:.1f} {box.top}v{height}" stroke="{_TEXT}" stroke-dasharray="4 3"/>')
        for index, row in enumerate(dots):
            middle = box.top + (index + 0.5) * line
            if n == 0:
                parts.append(_text(label - 10, middle + 4, row.name, "end"))
            parts += [
                f'<circle cx="{_x(x.place(v), box):.1f}" cy="{middle:.1f}" r="3" fill="{COLOURS[0]}" opacity="0.45"/>'
                for v in row.values
            ]
            parts.append(
                f'<path d="M{_x(x.place(row.mean), box):.1f} {middle - 7:.1f}v14" stroke="{COLOURS[1]}" stroke-width="2.5"/>'
            )
    return _page(parts, label + len(panels) * (width + 40), height + 90, note)


def _axes(title: str, box: Box, x: Scale, y: Scale | None, *, percent: bool) -> str:
    bottom = box.top + box.height
    parts = [_text(box.left, box.top - 10, title, "start", weight="600")]
    for tick in x.ticks:
        at = _x(x.place(tick), box)
        parts.append(f'<path d="M{at:.1f} {box.top:.1f}v{box.height:.1f}" stroke="{_FAINT}"/>')
        parts.append(_text(at, bottom + 18, _number(tick, percent=percent and y is None), "middle"))
    for tick in y.ticks if y is not None else ():
        at = bottom - y.place(tick) / 100 * box.height if y is not None else 0.0
        parts.append(f'<path d="M{box.left:.1f} {at:.1f}h{box.width:.1f}" stroke="{_FAINT}"/>')
        parts.append(_text(box.left - 8, at + 4, _number(tick, percent=percent), "end"))
    if y is not None:
        parts.append(_text(box.left + box.width / 2, bottom + 36, "step", "middle"))
    return "".join(parts)


def _legend(entries: Sequence[tuple[str, int, int]], width: float) -> tuple[str, float]:
    """The legend, and how high it is."""
    parts, left, top = [], 20.0, 16.0
    for name, colour, dash in entries:
        needed = 42 + 7.5 * len(name)
        if left + needed > width - 10:
            left, top = 20.0, top + 20
        parts.append(f'<path d="M{left:.1f} {top:.1f}h24" stroke="{COLOURS[colour]}" stroke-width="2.5"{_dash(dash)}/>')
        parts.append(_text(left + 30, top + 4, name, "start"))
        left += needed
    return "".join(parts), top + 14


def _page(parts: Sequence[str], width: float, height: float, note: str) -> str:
    size = f'width="{width:.0f}" height="{height + 10:.0f}" viewBox="0 0 {width:.0f} {height + 10:.0f}"'
    background = '<rect width="100%" height="100%" fill="#ffffff"/>'
    told = _text(20, height, note, "start")
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{_STYLE}">{background}{"".join(parts)}{told}</svg>\n'


def _text(x: float, y: float, words: str, anchor: str, weight: str = "400") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text {place} fill="{_TEXT}">{escape(words)}</text>'


def _number(value: float, *, percent: bool) -> str:
    return f"{100 * value:g} %" if percent else f"{value:g}"


def _dash(dash: int) -> str:
    return f' stroke-dasharray="{_DASHES[dash]}"' if _DASHES[dash] else ""


def _x(place: float, box: Box) -> float:
    return box.left + place / 100 * box.width


def _in_box(points: Sequence[tuple[float, float]], box: Box) -> str:
    """SVG path through points in percent of a box, y upwards."""
    return "".join(
        f"{'L' if n else 'M'}{_x(x, box):.1f} {box.top + (1 - y / 100) * box.height:.1f}"
        for n, (x, y) in enumerate(points)
    )
