"""Pipeline steps: evaluate the base, and the student of a cell."""

from kfp import dsl
from vicur_components.component import component


@component
def evaluate_base(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    step: dict,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Evaluate the base model. KFP names a task after its component, and would otherwise number it."""
    from vicur.steps.stage_step import run_step

    run_step("evaluate", step, {"dataset": dataset, "model": model}, evaluation, metrics)


@component
def evaluate(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    step: dict,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Evaluate the student of one cell on the held-out splits."""
    from vicur.steps.stage_step import run_step

    run_step("evaluate", step, {"dataset": dataset, "model": model}, evaluation, metrics)
