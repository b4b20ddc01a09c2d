"""Pipeline step: evaluate one model."""

from kfp import dsl
from vicur_components.component import component


@component
def evaluate(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    step: dict,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    cell: dict = {},  # noqa: B006 (KFP reads defaults from the signature)
):
    """Evaluate the base model, or the student of one cell, on the held-out splits."""
    from vicur.steps.stage_step import run_step

    run_step("evaluate", step, {"dataset": dataset, "model": model}, evaluation, metrics, cell or None)
