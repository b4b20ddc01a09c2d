"""Pipeline step: prepare the dataset."""

from kfp import dsl
from vicur_components.component import component


@component
def prepare(step: dict, dataset: dsl.Output[dsl.Dataset], profile: dsl.Output[dsl.HTML]):
    """Read or generate the examples, check them, and write parquet shards by split with a manifest. ``profile`` is a page about them."""
    from vicur.steps.dataset_page import write_dataset_page
    from vicur.steps.stage_step import run_step

    run_step("prepare", step, {}, dataset)
    write_dataset_page(dataset, profile)
