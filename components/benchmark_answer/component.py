"""Pipeline steps: answer the paper's benchmarks with the base, and with the student of a cell."""

from kfp import dsl
from vicur_components.component import component


@component
def benchmark_answer_base(model: dsl.Input[dsl.Model], step: dict, answers: dsl.Output[dsl.Artifact]):
    """Answer the benchmarks with the base model."""
    from vicur.steps.stage_step import run_step

    run_step("benchmark-answer", step, {"model": model}, answers)


@component
def benchmark_answer(model: dsl.Input[dsl.Model], step: dict, answers: dsl.Output[dsl.Artifact]):
    """Answer the benchmarks with the student of one cell."""
    from vicur.steps.stage_step import run_step

    run_step("benchmark-answer", step, {"model": model}, answers)
