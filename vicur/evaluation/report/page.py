"""Render the report as one self-contained HTML file.

Style, script, charts and images are embedded, and a content security policy forbids everything else. The file can be
mailed, archived, or shown in a sandboxed frame.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vicur.config.comparison import ComparisonConfig
from vicur.config.evaluation import REPORT_SPLIT
from vicur.cues import read_cues
from vicur.data.stored import ExamplesById
from vicur.evaluation.attention import read_attention
from vicur.evaluation.benchmarks.comparing import BenchmarkComparison
from vicur.evaluation.comparison import Comparison, Evaluation
from vicur.evaluation.report.benchmarks import benchmark_tables
from vicur.evaluation.report.cards import OUTCOMES, cards, outcome_counts
from vicur.evaluation.report.curves import Chart, charts, read_history
from vicur.evaluation.report.facts import cue_facts, dataset_facts, evaluation_facts, training_table
from vicur.evaluation.report.heat import HeatView, heat_view
from vicur.evaluation.report.models import ReportModel, report_models
from vicur.evaluation.report.results import (
    accuracy_scale,
    behaviour_rows,
    difference_scale,
    kind_tables,
    result_tables,
)
from vicur.evaluation.statistics import Difference
from vicur.evaluation.verdicts import Verdict
from vicur.pages.html import page_environment
from vicur.storage.folders import new_file
from vicur.wording import interval, percent, points

# Longer lists of verdicts are folded.
_SHOWN_AT_ONCE = 8
_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, eq=False)
class ReportInputs:
    """Inputs of a report. Mappings are by method."""

    comparison: Comparison
    # The first verdict is the headline.
    verdicts: Sequence[Verdict]
    base: Evaluation
    students: Mapping[str, Evaluation]
    # Folders of these evaluations, for the sink attention, and of the students themselves, for the training curves.
    evaluations: Mapping[str, Path]
    folders: Mapping[str, Path]
    dataset: Path
    cues: Path
    benchmarks: Mapping[str, BenchmarkComparison] = field(default_factory=dict)


def write_report(inputs: ReportInputs, config: ComparisonConfig, path: Path) -> None:
    """Write the report to ``path``.

    Raises:
        VicurError: if one of the inputs cannot be read.
    """
    html = render(page_context(inputs, config))
    with new_file(path) as partial:
        partial.write_text(html, encoding="utf-8")


def page_context(inputs: ReportInputs, config: ComparisonConfig) -> dict[str, Any]:
    comparison = inputs.comparison
    models = report_models(comparison)
    evaluations = {"base": inputs.base, **inputs.students}
    examples = ExamplesById(inputs.dataset, REPORT_SPLIT)
    test = {name: evaluation.predictions[REPORT_SPLIT] for name, evaluation in evaluations.items()}
    tables = result_tables(comparison, models)
    kinds = kind_tables(comparison, models)
    curves = charts(models, {name: read_history(folder) for name, folder in inputs.folders.items()})
    return {
        "title": config.title,
        "comparison": comparison,
        "models": models,
        "headline": inputs.verdicts[0],
        "verdicts": _folded(inputs.verdicts[1:], comparison.choice.method),
        "tables": tables,
        "forest": difference_scale(tables, comparison.pairs),
        "benchmarks": benchmark_tables(inputs.benchmarks, models),
        "kinds": kinds,
        "accuracy_axis": accuracy_scale(kinds),
        "behaviour": behaviour_rows(models, {name: e.metrics for name, e in evaluations.items()}),
        "charts": curves,
        "chart_data": [_chart_data(chart) for chart in curves],
        "cards": cards(models, test, examples, read_cues(inputs.cues), config.cards, comparison.seed),
        "card_counts": {m.number: outcome_counts(test["base"], test[m.name]) for m in models[1:]},
        "outcomes": OUTCOMES,
        "blind_views": {"no_image": "no image", "other_image": "the image of another question"},
        "heat": _heat(models, inputs, examples),
        "facts": [
            dataset_facts(inputs.dataset),
            cue_facts(inputs.cues),
            evaluation_facts(comparison, inputs.base.metrics.decoding),
        ],
        "training": training_table(models, inputs.folders),
    }


def _folded(verdicts: Sequence[Verdict], chosen: str) -> tuple[list[Verdict], list[Verdict]]:
    """Split a long list of verdicts into those about the chosen student and those that the page folds."""
    if len(verdicts) <= _SHOWN_AT_ONCE:
        return list(verdicts), []
    visible = [verdict for verdict in verdicts if not verdict.about or chosen in verdict.about]
    return visible, [verdict for verdict in verdicts if verdict not in visible]


def render(context: Mapping[str, Any]) -> str:
    environment = page_environment(_TEMPLATES)
    environment.filters |= {
        "percent": percent,
        "points": points,
        "interval": _interval,
        "p": _p,
        "json_data": json_data,
    }
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "words": _words,
        "tick": _tick,
        "unbroken": _unbroken,
    }
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    # The policy allows this script by its hash, so no other script can run, not even an injected one.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    page = environment.get_template("page.html.j2")
    return page.render(context, script=script, script_hash=digest)


def json_data(value: Any) -> str:
    """Encode a value as JSON that is safe inside a script element."""
    # Escaping "<" keeps data from closing the element; ensure_ascii escapes line separators, which old parsers reject.
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _interval(difference: Difference, confidence: float) -> str:
    return interval(difference.low, difference.high, confidence)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _tick(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _unbroken(text: str) -> str:
    """Put no-break spaces into percentages and intervals."""
    text = text.replace(" %", "\u00a0%")
    return re.sub(r"([+−][0-9.]+) to ([+−][0-9.]+)", "\\1\u00a0to\u00a0\\2", text)


def _words(name: str) -> str:
    # An identifier such as column_sum becomes "Column sum".
    return name.replace("_", " ").replace("-", " ").strip().capitalize()


def _chart_data(chart: Chart) -> dict[str, Any]:
    # Only what the script reads out under the pointer; the chart itself is drawn by the template.
    return {
        "x": [chart.x.low, chart.x.high],
        "y": [chart.y.low, chart.y.high],
        "percent": chart.panel.percent,
        "lines": [
            {
                "label": f"{line.model.name} {line.name}".strip(),
                "model": line.model.number,
                "points": [[step, round(value, 5)] for step, value in line.points],
            }
            for line in chart.lines
        ],
    }


def _heat(models: Sequence[ReportModel], inputs: ReportInputs, examples: Mapping[str, Any]) -> list[HeatView]:
    views = []
    for model in models[1:]:
        # Students without the cue recovery module have no record.
        record = read_attention(inputs.evaluations[model.name])
        view = heat_view(model, record, examples) if record is not None else None
        if view is not None:
            views.append(view)
    return views
