"""Pipeline step: extract visual cues."""

from kfp import dsl
from vicur_components.component import component


@component
def extract(
    dataset: dsl.Input[dsl.Dataset],
    step: dict,
    cues: dsl.Output[dsl.Dataset],
    samples: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
):
    """Extract a visual cue for each example and audit all of them. ``samples`` is a page of examples with their cues."""
    import shutil

    from vicur.steps.stage_step import run_step

    run_step("extract", step, {"dataset": dataset}, cues, metrics)
    shutil.copyfile(f"{cues.path}/samples.html", samples.path)
