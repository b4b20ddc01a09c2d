"""Training curves: read each student's ``metrics.jsonl`` and lay it out as small charts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vicur.errors import VicurError
from vicur.evaluation.report.models import ReportModel
from vicur.evaluation.report.scales import Scale, path, round_scale

# Longer curves are averaged down to this many points, about as many as a chart has pixels.
_MAX_POINTS = 500
# Up to this many points are drawn one by one. These are validations, which are not smoothed.
_MARKED = 40
_SMOOTH_SHARE = 1 / 20

History = list[dict[str, float]]
"""Records in ascending order of ``step``, each with the finite metrics of that step."""


@dataclass(frozen=True)
class Panel:
    """Definition of one chart, with a note on how to read it."""

    title: str
    keys: tuple[tuple[str, str], ...]
    """The metrics to draw, each with the name of its line; a single line needs no name."""
    unit: str = ""
    percent: bool = False
    include: tuple[float, ...] = ()
    """Values that the axis must cover."""
    by_model: bool = False
    """Whether each model gets a separate chart."""
    note: str = ""


_HALVES = (("gap/half_1", "first half"), ("gap/half_2", "second half"))
_QUARTERS = tuple((f"gap/quarter_{n}", f"{name} quarter") for n, name in enumerate(("1st", "2nd", "3rd", "4th"), 1))
_NATS = "nats per token"
PANELS = (
    Panel(
        "Validation accuracy",
        (("validation_accuracy", ""),),
        "",
        percent=True,
        note="Greedy decoding. The student keeps the weights of the best step.",
    ),
    Panel("Rollout accuracy", (("rollout_accuracy", ""),), "", percent=True, note="Answers of the sampled responses."),
    Panel(
        "Loss",
        (("loss", ""),),
        include=(0,),
        note="The minimised objective. With k1 it follows the advantage and does not measure the fit.",
    ),
    Panel("Log-prob gap", (("gap/whole", ""),), _NATS, include=(0,), note="Teacher minus student on sampled tokens."),
    Panel("Gap by half", _HALVES, _NATS, include=(0,), note="The part of the response in which the teacher disagrees."),
    Panel("Gap by quarter", _QUARTERS, _NATS, include=(0,), by_model=True, note="Four equal segments of the response."),
    Panel(
        "Hint leakage",
        (("leakage/samples", ""),),
        "rollouts per step",
        include=(0, 1),
        note="Rollouts that contain the word “Hint”.",
    ),
    Panel("Entropy", (("entropy", ""),), _NATS, include=(0,), note="Of the student's next-token distribution."),
    Panel("Response length", (("response_tokens", ""),), "tokens", note="Mean over the rollouts of a step."),
    Panel("Gradient norm", (("gradient_norm", ""),), include=(0,), note="Before clipping."),
    Panel(
        "Speed",
        (("tokens_per_second", ""),),
        "tokens per second",
        include=(0,),
        note="Sampled tokens divided by the time of the whole step.",
    ),
)


@dataclass(frozen=True)
class Line:
    """One line of a chart. Lines of one model have the same colour and differ in their style."""

    model: ReportModel
    name: str
    style: int
    points: tuple[tuple[int, float], ...]
    """Step and value."""
    # SVG paths, and positions of the points if there are few enough to show each. In percent of the chart's area.
    raw: str = ""
    smooth: str = ""
    marks: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Chart:
    """A panel with its axes and lines."""

    panel: Panel
    x: Scale
    y: Scale
    lines: tuple[Line, ...]
    all_zero: bool


def read_history(folder: Path) -> History:
    """Read the metrics of a student's training. A model that this project did not train has none.

    Raises:
        VicurError: if the file is damaged.
    """
    file = folder / "metrics.jsonl"
    if not file.exists():
        return []
    records: dict[int, dict[str, float]] = {}
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(text)
            step = int(record["step"])
        except (ValueError, TypeError, KeyError) as error:
            raise VicurError(
                "is not a record of a training step.", where=f"{file}:{number}", remedy="Train the student again."
            ) from error
        # A step may be logged in several records (training, then validation). Their metrics are merged, and values such as
        # NaN, which cannot be drawn, are dropped.
        finite = {k: float(v) for k, v in record.items() if isinstance(v, int | float) and math.isfinite(v)}
        records.setdefault(step, {}).update(finite)
    return [records[step] for step in sorted(records)]


def charts(models: Sequence[ReportModel], histories: Mapping[str, History]) -> list[Chart]:
    """Return the charts for which the histories have metrics."""
    trained = [model for model in models if histories.get(model.name)]
    result: list[Chart | None] = []
    for panel in PANELS:
        if panel.by_model and len(trained) > 1:
            result += [_chart(replace(panel, title=f"{panel.title}: {m.name}"), [m], histories) for m in trained]
        else:
            result.append(_chart(panel, trained, histories))
    return [chart for chart in result if chart is not None]


def _chart(panel: Panel, models: Sequence[ReportModel], histories: Mapping[str, History]) -> Chart | None:
    lines = [
        Line(model, name, style, points)
        for model in models
        for style, (key, name) in enumerate(panel.keys)
        if (points := _points(histories[model.name], key))
    ]
    if not lines:
        return None
    values = [value for line in lines for _, value in line.points]
    last = max(1.0, *(histories[model.name][-1]["step"] for model in models))
    x = Scale(0.0, last, tuple(tick for tick in round_scale([0.0, last]).ticks if tick <= last))
    y = round_scale(values, include=panel.include)
    # With several lines per model, only the running means remain readable.
    raw = len(panel.keys) == 1
    return Chart(panel, x, y, tuple(_laid_out(line, x, y, raw=raw) for line in lines), all_zero=not any(values))


def _points(history: History, key: str) -> tuple[tuple[int, float], ...]:
    points = [(int(record["step"]), record[key]) for record in history if key in record]
    size = math.ceil(len(points) / _MAX_POINTS)
    if size <= 1:
        return tuple(points)
    blocks = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple((block[-1][0], sum(v for _, v in block) / len(block)) for block in blocks)


def _laid_out(line: Line, x: Scale, y: Scale, *, raw: bool) -> Line:
    if len(line.points) <= _MARKED:
        marks = tuple((x.place(step), y.place(value)) for step, value in line.points)
        return replace(line, smooth=path(marks), marks=marks)
    smooth = _running_mean([value for _, value in line.points])
    steps = [x.place(step) for step, _ in line.points]
    return replace(
        line,
        raw=path([(at, y.place(value)) for at, (_, value) in zip(steps, line.points, strict=True)]) if raw else "",
        smooth=path([(at, y.place(value)) for at, value in zip(steps, smooth, strict=True)]),
    )


def _running_mean(values: Sequence[float]) -> list[float]:
    """Average each value with its neighbours, over a window of a twentieth of the curve."""
    reach = max(1, round(len(values) * _SMOOTH_SHARE / 2))
    # At both ends the window is cut off instead of padded.
    windows = (values[max(0, n - reach) : n + reach + 1] for n in range(len(values)))
    return [sum(window) / len(window) for window in windows]
