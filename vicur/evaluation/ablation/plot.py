"""Draw curves and dots with matplotlib. The same figures give the same SVG, byte for byte."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vicur.evaluation.ablation.curves import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# The palette of Okabe and Ito, which is readable with any colour vision, without its yellow (too pale on white) and with a
# grey.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222", "#7f7f7f")
_DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_SETTINGS: dict[Any, Any] = {
    # matplotlib names the elements of an SVG by a hash, salted at random by default.
    "svg.hashsalt": "vicur",
    # Text stays text: searchable, readable for screen readers, and small.
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlesize": "medium",
    "grid.color": "#dddddd",
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Line:
    """A curve and its style: lines of one plot with the same ``style`` look alike."""

    curve: Curve
    style: int


@dataclass(frozen=True)
class LinePanel:
    """Curves over the training steps. ``band`` shades one standard deviation to either side."""

    title: str
    lines: Sequence[Line]
    band: bool = True


@dataclass(frozen=True)
class DotRow:
    """One row of a dot plot: a dot per seed and a tick at the mean. Values are shares."""

    name: str
    values: tuple[float, ...]
    mean: float


def line_plot(
    panels: Sequence[LinePanel], *, columns: int, y_label: str, percent: bool = False, zero: bool = False, note: str
) -> str:
    """Draw panels that share both axes, with one legend and a note below them, and return the SVG.

    With ``percent``, values are shares and shown in percent. With ``zero``, the vertical axis includes zero.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(_SETTINGS):
        # A single panel is larger, with its legend to the right.
        size = (9.0, 4.4) if len(panels) == 1 else (3.2 * columns, 2.4 * rows + 1.0)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        # One legend for all panels. Panels of different arms have the same names for their lines.
        names: dict[str, int] = {}
        for axes, panel in zip(grid.flat, panels, strict=False):
            axes.set_title(panel.title)
            for line in panel.lines:
                _draw_line(axes, line, scale=100 if percent else 1, band=panel.band)
                names.setdefault(line.curve.name, line.style)
        if zero:
            # Both axes are shared, so this extends every panel.
            low, high = grid.flat[0].get_ylim()
            grid.flat[0].set_ylim(min(low, 0), max(high, 0))
        for axes in list(grid.flat)[len(panels) :]:
            axes.remove()
        figure.supxlabel("step", fontsize="medium")
        figure.supylabel(y_label, fontsize="medium")
        figure.legend(
            handles=[_legend_entry(name, style) for name, style in names.items()],
            loc="outside right upper" if len(panels) == 1 else "outside upper left",
            ncols=1 if len(panels) == 1 else 4,
        )
        return _svg(figure, note)


def _draw_line(axes: Axes, line: Line, *, scale: float, band: bool) -> None:
    curve, colour = line.curve, COLOURS[line.style % len(COLOURS)]
    mean = [scale * value for value in curve.mean]
    axes.plot(curve.steps, mean, color=colour, linestyle=_dash(line.style), linewidth=1.6)
    if band and any(curve.std):
        spread = [scale * value for value in curve.std]
        axes.fill_between(
            curve.steps,
            [m - s for m, s in zip(mean, spread, strict=True)],
            [m + s for m, s in zip(mean, spread, strict=True)],
            color=colour,
            alpha=0.1,
            linewidth=0,
        )


def _dash(style: int) -> Any:
    # Neighbours differ in dashes as well as in colour: arms often have almost the same curve, and a solid line would hide
    # the one below it. Each further round of the colours shifts the dashes by one.
    return _DASHES[(style + style // len(COLOURS)) % len(_DASHES)]


def _legend_entry(name: str, style: int) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=COLOURS[style % len(COLOURS)], linestyle=_dash(style), linewidth=2, label=name)


def dot_plot(panels: Sequence[tuple[str, Sequence[DotRow], float]], *, note: str) -> str:
    """Draw accuracies of arms and return the SVG. A panel is a title, a row per arm, and the accuracy of the base."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    names = [row.name for row in panels[0][1]]
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(1.8 + 3.4 * len(panels), 1.3 + 0.26 * len(names)), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)
        for axes, (title, rows, base) in zip(grid.flat, panels, strict=True):
            axes.set_title(title)
            axes.axvline(100 * base, color="#333333", linestyle=_DASHES[1], linewidth=1)
            for place, row in enumerate(rows):
                values = [100 * value for value in row.values]
                axes.plot(
                    values, [place] * len(values), "o", color=COLOURS[0], alpha=0.5, markersize=5, markeredgewidth=0
                )
                axes.plot([100 * row.mean], [place], "|", color=COLOURS[1], markersize=13, markeredgewidth=2)
            axes.set_yticks(range(len(names)), names)
            axes.set_xlabel("accuracy, %")
        # The first arm is at the top, as in the table.
        grid.flat[0].set_ylim(len(names) - 0.5, -0.5)
        return _svg(figure, note)


def _svg(figure: Figure, note: str) -> str:
    # Below the figure, outside the constrained layout; the tight bounding box then includes it.
    figure.text(0.0, -0.02, note, va="top", fontsize="small", color="#444444")
    buffer = io.StringIO()
    # The date and the version of matplotlib would change the file without changing the figure.
    figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.1, metadata={"Date": None, "Creator": None})
    # matplotlib ends many lines of path data with a blank.
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
