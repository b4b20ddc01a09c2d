"""Step: one student, trained by one method."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    dataset: dsl.Input[dsl.Dataset],
    cues: dsl.Input[dsl.Dataset],
    base: dsl.Input[dsl.Model],
    method: str,
    config: dict,
    seed: int,
    tracking: dict,
    code: str,
    checkpoints: str,
    student: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    subject: str = "",
    given: str = "",
    cluster: dict = {},  # noqa: B006 (KFP reads defaults from the signature)
):
    """Trains a student by one method: distilled on policy from a teacher, by rewards or on references.

    Args:
        dataset: Prepared dataset.
        cues: Extracted cues.
        base: Model that the student starts from.
        method: Name of a method (opsd, opsd-cue, opsd-recovery, vicur, opd, opd-vicur, grpo, sft): a privilege, a teacher, cue recovery
            or not, and an objective.
        config: Section training of the run configuration.
        seed: Root seed of the run.
        tracking: Section tracking of the run configuration.
        code: Version of the code behind this step, for the cache.
        checkpoints: Folder or address on S3 below which checkpoints outlive the step's machine; empty for none.
        student: Checkpoint with tokenizer, image processor, vicur.json and training curves.
        metrics: Best validation accuracy and when it was reached.
        subject: What the student is called; empty for the method's name.
        given: What the inputs hold, for the platform's cache, which does not look into them.
        cluster: Section cluster of the run configuration: with more than one node, the step launches a job and follows it. Empty: trains
            here.
    """
    from vicur.steps.stage_step import run_step

    inputs = {"dataset": dataset.path, "cues": cues.path, "base": base.path}
    section = {**config, "method": method}
    summary = run_step(
        "train",
        section,
        inputs,
        student.path,
        subject=subject or method,
        seed=seed,
        tracking=tracking,
        code=code,
        checkpoints=checkpoints,
        cluster=cluster,
    )
    student.metadata["subject"] = subject or method
    for name, value in summary.metrics.items():
        metrics.log_metric(name, value)
