"""Step: all cells of an ablation, and what they come to."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ablate(
    base: dsl.Input[dsl.Artifact],
    evaluations: dsl.Input[list[dsl.Artifact]],
    students: dsl.Input[list[dsl.Model]],
    config: dict,
    seed: int,
    tracking: dict,
    code: str,
    results: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
):
    """Puts the evaluations of an ablation's cells together: a table with intervals, plots of the trainings, and what held.

    Args:
        base: Evaluation of the base model.
        evaluations: Evaluation of each cell.
        students: The student of each cell, for its training curves.
        config: Section analysis of the ablation: its arms and contrasts.
        seed: Root seed of the ablation.
        tracking: Section tracking of the configuration.
        code: Version of the code behind this step, for the cache.
        results: ablation.json, results.md and the plots.
        page: The page of results, without its plots.
        metrics: Mean accuracy of each arm, and its difference to the base.
    """
    import shutil

    from vicur.steps.stage_step import run_step

    inputs = {"base": base.path}
    inputs.update({artifact.metadata["subject"]: artifact.path for artifact in evaluations})
    inputs.update({f"{artifact.metadata['subject']}.student": artifact.path for artifact in students})
    summary = run_step("ablate", config, inputs, results.path, seed=seed, tracking=tracking, code=code)
    shutil.copyfile(f"{results.path}/results.md", page.path)
    for name, value in summary.metrics.items():
        metrics.log_metric(name, value)
