"""Pipeline steps: score the benchmarks' answers of the base, and of the student of a cell."""

from kfp import dsl
from vicur_components.component import component


@component
def benchmark_score_base(
    answers: dsl.Input[dsl.Artifact],
    step: dict,
    scores: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Score the base's answers with the benchmarks' harness and a judge."""
    from vicur.steps.stage_step import run_step

    run_step("benchmark-score", step, {"answers": answers}, scores, metrics)


@component
def benchmark_score(
    answers: dsl.Input[dsl.Artifact],
    step: dict,
    scores: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
):
    """Score the answers of one cell's student with the benchmarks' harness and a judge."""
    from vicur.steps.stage_step import run_step

    run_step("benchmark-score", step, {"answers": answers}, scores, metrics)
