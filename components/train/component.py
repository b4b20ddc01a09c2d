"""Pipeline step: train one student."""

from kfp import dsl
from vicur_components.component import component


@component
def train(
    dataset: dsl.Input[dsl.Dataset],
    cues: dsl.Input[dsl.Dataset],
    base: dsl.Input[dsl.Model],
    step: dict,
    student: dsl.Output[dsl.Model],
):
    """Train the student of one cell. If ``step`` asks for a TrainJob, launch and follow it instead."""
    from vicur.steps.stage_step import run_step

    run_step("train", step, {"dataset": dataset, "cues": cues, "base": base}, student)
