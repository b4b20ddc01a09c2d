"""Step: the better student becomes a registered version, and champion if it passes the gate."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    dataset: dsl.Input[dsl.Dataset],
    cues: dsl.Input[dsl.Dataset],
    base_evaluation: dsl.Input[dsl.Artifact],
    comparison: dsl.Input[dsl.Artifact],
    evaluations: dsl.Input[list[dsl.Artifact]],
    students: dsl.Input[list[dsl.Model]],
    config: dict,
    seed: int,
    tracking: dict,
    code: str,
    registration: dsl.Output[dsl.Artifact],
    decision: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
):
    """Registers the student that the comparison chose, and moves champion to it if it passes the gate.

    Args:
        dataset: Prepared dataset.
        cues: Extracted cues.
        base_evaluation: Evaluation of the base model.
        comparison: Comparison of base and students, which names the method that is best on validation.
        evaluations: Evaluation of each student.
        students: The students.
        config: Section registry of the run configuration.
        seed: Root seed of the run.
        tracking: Section tracking of the run configuration.
        code: Version of the code behind this step, for the cache.
        registration: registration.json.
        decision: What the gate decided, and why.
        metrics: Version and gate as figures.
    """
    import json
    from pathlib import Path

    from vicur.steps.stage_step import run_step

    chosen = json.loads(Path(comparison.path, "comparison.json").read_text(encoding="utf-8"))["choice"]["method"]
    inputs = {
        "dataset": dataset.path,
        "cues": cues.path,
        "base_evaluation": base_evaluation.path,
        "comparison": comparison.path,
        "evaluation": next(artifact.path for artifact in evaluations if artifact.metadata["subject"] == chosen),
        "student": next(artifact.path for artifact in students if artifact.metadata["subject"] == chosen),
    }
    summary = run_step("register", config, inputs, registration.path, seed=seed, tracking=tracking, code=code)
    Path(decision.path).write_text(summary.key_figure, encoding="utf-8")
    for name, value in summary.metrics.items():
        metrics.log_metric(name, value)
