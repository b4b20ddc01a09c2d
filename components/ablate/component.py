"""Pipeline step: summarize an ablation."""

from kfp import dsl
from vicur_components.component import component


@component
def ablate(
    base: dsl.Input[dsl.Artifact],
    evaluations: dsl.Input[list[dsl.Artifact]],
    step: dict,
    results: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
):
    """Combine the evaluations of all cells into a table with intervals, plots of the trainings, and the outcome of each contrast."""
    import shutil

    from vicur.steps.stage_step import cell_inputs, run_step

    run_step("ablate", step, {"base": base, **cell_inputs(evaluations)}, results, metrics)
    shutil.copyfile(f"{results.path}/results.md", page.path)
