"""Step: the model that students start from."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def base(
    config: dict,
    seed: int,
    tracking: dict,
    code: str,
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    given: str = "",
):
    """Provides the model that students start from.

    Args:
        config: Section base of the run configuration.
        seed: Root seed of the run.
        tracking: Section tracking of the run configuration.
        code: Version of the code behind this step, for the cache.
        model: Checkpoint with tokenizer and image processor.
        metrics: Number of parameters.
        given: What the inputs hold, for the platform's cache, which does not look into them.
    """
    from vicur.steps.stage_step import run_step

    summary = run_step("base", config, {}, model.path, seed=seed, tracking=tracking, code=code)
    for name, value in summary.metrics.items():
        metrics.log_metric(name, value)
