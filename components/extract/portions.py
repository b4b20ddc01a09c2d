"""Pipeline steps: divide the examples of the dataset into portions, make the cues of each, and merge and audit them."""

from kfp import dsl
from vicur_components.component import component


@component
def extract_plan(dataset: dsl.Input[dsl.Dataset], step: dict, count: int, portions: dsl.OutputPath(list)):
    """Divide the examples into at most ``count`` portions; with 0, the number follows from the examples."""
    from vicur.steps.portion_step import run_plan_step

    run_plan_step("extract", step, count, {"dataset": dataset}, portions)


@component
def extract_portion(dataset: dsl.Input[dsl.Dataset], step: dict, portion: dsl.Output[dsl.Dataset]):
    """Make the cues of one portion."""
    from vicur.steps.portion_step import run_portion_step

    run_portion_step("extract", step, {"dataset": dataset}, portion)


# Named as the step that does all the work, so that policies, documentation and the view of a run apply to both.
@component
def extract(
    dataset: dsl.Input[dsl.Dataset],
    portions: dsl.Input[list[dsl.Dataset]],
    step: dict,
    cues: dsl.Output[dsl.Dataset],
    samples: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
):
    """Merge the cues of all portions and audit them. ``samples`` is a page of examples with their cues."""
    import shutil

    from vicur.steps.portion_step import merged_inputs
    from vicur.steps.stage_step import run_step

    run_step("extract", step, merged_inputs(portions, dataset=dataset), cues, metrics)
    shutil.copyfile(f"{cues.path}/samples.html", samples.path)
