"""Step: base against students, and the report."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare(
    dataset: dsl.Input[dsl.Dataset],
    cues: dsl.Input[dsl.Dataset],
    base: dsl.Input[dsl.Artifact],
    evaluations: dsl.Input[list[dsl.Artifact]],
    students: dsl.Input[list[dsl.Model]],
    config: dict,
    seed: int,
    tracking: dict,
    code: str,
    comparison: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    given: str = "",
):
    """Compares the students with their base, chooses a method on the validation split and writes the report.

    Args:
        dataset: Prepared dataset.
        cues: Extracted cues.
        base: Evaluation of the base model.
        evaluations: Evaluation of each student.
        students: The students, for their training curves.
        config: Section comparison of the run configuration.
        seed: Root seed of the run.
        tracking: Section tracking of the run configuration.
        code: Version of the code behind this step, for the cache.
        comparison: comparison.json and report.html.
        report: The report, one self-contained page.
        metrics: Differences in accuracy with their intervals.
        given: What the inputs hold, for the platform's cache, which does not look into them.
    """
    import shutil

    from vicur.steps.stage_step import run_step

    inputs = {"dataset": dataset.path, "cues": cues.path, "base": base.path}
    inputs.update({artifact.metadata["subject"]: artifact.path for artifact in evaluations})
    inputs.update({f"{artifact.metadata['subject']}.student": artifact.path for artifact in students})
    summary = run_step("compare", config, inputs, comparison.path, seed=seed, tracking=tracking, code=code)
    shutil.copyfile(f"{comparison.path}/report.html", report.path)
    for name, value in summary.metrics.items():
        metrics.log_metric(name, value)
