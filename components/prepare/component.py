"""Step: the dataset, from its source to checked parquet shards."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(
    config: dict,
    seed: int,
    tracking: dict,
    code: str,
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    given: str = "",
):
    """Prepares the dataset: reads or draws its examples, checks them and writes parquet shards with a manifest.

    Args:
        config: Section data of the run configuration.
        seed: Root seed of the run.
        tracking: Section tracking of the run configuration.
        code: Version of the code behind this step, for the cache.
        dataset: Parquet shards by split, and manifest.json.
        metrics: Number of examples by split.
        given: What the inputs hold, for the platform's cache, which does not look into them.
    """
    from vicur.steps.stage_step import run_step

    summary = run_step("prepare", config, {}, dataset.path, seed=seed, tracking=tracking, code=code)
    for name, value in summary.metrics.items():
        metrics.log_metric(name, value)
