"""Step: one model, base or student, on the held-out splits."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    subject: str,
    config: dict,
    seed: int,
    tracking: dict,
    code: str,
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    given: str = "",
):
    """Evaluates one model on the held-out splits.

    Args:
        dataset: Prepared dataset.
        model: Base model or student.
        subject: What the model is called: base, or the student's method.
        config: Section evaluation of the run configuration.
        seed: Root seed of the run.
        tracking: Section tracking of the run configuration.
        code: Version of the code behind this step, for the cache.
        evaluation: metrics.json, predictions.parquet and sink attention of sample questions.
        metrics: Accuracy, evidence correctness and hint leakage by split.
        given: What the inputs hold, for the platform's cache, which does not look into them.
    """
    from vicur.steps.stage_step import run_step

    inputs = {"dataset": dataset.path, "model": model.path}
    summary = run_step(
        "evaluate", config, inputs, evaluation.path, subject=subject, seed=seed, tracking=tracking, code=code
    )
    evaluation.metadata["subject"] = subject
    for name, value in summary.metrics.items():
        metrics.log_metric(name, value)
