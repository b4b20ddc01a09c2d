"""Step: visual cues for the dataset's examples, audited."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def extract(
    dataset: dsl.Input[dsl.Dataset],
    config: dict,
    seed: int,
    tracking: dict,
    code: str,
    cues: dsl.Output[dsl.Dataset],
    samples: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    given: str = "",
    checkpoints: str = "",
):
    """Extracts a visual cue for each example and audits all of them.

    Args:
        dataset: Prepared dataset.
        config: Section cues of the run configuration.
        seed: Root seed of the run.
        tracking: Section tracking of the run configuration.
        code: Version of the code behind this step, for the cache.
        cues: cues.parquet, audit.json and a page of samples.
        samples: The page of samples.
        metrics: Shares of cues that are grounded and that leak the answer, and their length.
        given: What the inputs hold, for the platform's cache, which does not look into them.
        checkpoints: Folder or address on S3 below which the cues of a model that is asked outlive the step's machine; empty for none.
    """
    import shutil

    from vicur.steps.stage_step import run_step

    inputs = {"dataset": dataset.path}
    summary = run_step(
        "extract", config, inputs, cues.path, seed=seed, tracking=tracking, code=code, checkpoints=checkpoints
    )
    shutil.copyfile(f"{cues.path}/samples.html", samples.path)
    for name, value in summary.metrics.items():
        metrics.log_metric(name, value)
