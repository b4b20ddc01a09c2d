"""Pipeline step: register the chosen student."""

from kfp import dsl
from vicur_components.component import component


@component
def register(
    dataset: dsl.Input[dsl.Dataset],
    cues: dsl.Input[dsl.Dataset],
    comparison: dsl.Input[dsl.Artifact],
    students: dsl.Input[list[dsl.Model]],
    step: dict,
    registration: dsl.Output[dsl.Artifact],
    decision: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
):
    """Register the student that the comparison chose, and make it champion if it passes the gate."""
    import json
    from pathlib import Path

    from vicur.steps.stage_step import of_subject, run_step

    chosen = json.loads(Path(comparison.path, "comparison.json").read_text(encoding="utf-8"))["choice"]["method"]
    inputs = {
        "dataset": dataset,
        "cues": cues,
        "comparison": comparison,
        "student": of_subject(students, chosen),
    }
    summary = run_step("register", step, inputs, registration, metrics)
    Path(decision.path).write_text(summary.page, encoding="utf-8")
