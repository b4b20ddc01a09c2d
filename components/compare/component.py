"""Pipeline steps: compare the students with their base, on held-out questions alone or on benchmarks, too."""

from kfp import dsl
from vicur_components.component import component


@component
def compare(
    dataset: dsl.Input[dsl.Dataset],
    cues: dsl.Input[dsl.Dataset],
    base: dsl.Input[dsl.Artifact],
    evaluations: dsl.Input[list[dsl.Artifact]],
    step: dict,
    comparison: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
):
    """Compare the evaluations with intervals, choose a student on the validation split, and write the report."""
    import shutil

    from vicur.steps.stage_step import cell_inputs, run_step

    inputs = {"dataset": dataset, "cues": cues, "base": base, **cell_inputs(evaluations)}
    run_step("compare", step, inputs, comparison, metrics)
    shutil.copyfile(f"{comparison.path}/report.html", report.path)


@component
def compare_with_benchmarks(
    dataset: dsl.Input[dsl.Dataset],
    cues: dsl.Input[dsl.Dataset],
    base: dsl.Input[dsl.Artifact],
    evaluations: dsl.Input[list[dsl.Artifact]],
    base_scores: dsl.Input[dsl.Artifact],
    scores: dsl.Input[list[dsl.Artifact]],
    step: dict,
    comparison: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
):
    """Compare evaluations and scores of benchmarks. Otherwise as ``compare``: KFP has no optional lists of artifacts."""
    import shutil

    from vicur.steps.stage_step import benchmark_inputs, cell_inputs, run_step

    inputs = {"dataset": dataset, "cues": cues, "base": base, **cell_inputs(evaluations)}
    inputs |= benchmark_inputs([base_scores, *scores])
    run_step("compare", step, inputs, comparison, metrics)
    shutil.copyfile(f"{comparison.path}/report.html", report.path)
