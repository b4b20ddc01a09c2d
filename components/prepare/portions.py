"""Pipeline steps: divide the source of the dataset into portions, read each, and merge them."""

from kfp import dsl
from vicur_components.component import component


@component
def prepare_plan(step: dict, count: int, portions: dsl.OutputPath(list)):
    """Divide the source into at most ``count`` portions; with 0, the number follows from the rows."""
    from vicur.steps.portion_step import run_plan_step

    run_plan_step("prepare", step, count, {}, portions)


@component
def prepare_portion(step: dict, portion: dsl.Output[dsl.Dataset]):
    """Read the rows of one portion."""
    from vicur.steps.portion_step import run_portion_step

    run_portion_step("prepare", step, {}, portion)


# Named as the step that does all the work, so that policies, documentation and the view of a run apply to both.
@component
def prepare(portions: dsl.Input[list[dsl.Dataset]], step: dict, dataset: dsl.Output[dsl.Dataset]):
    """Check the examples of all portions together, and write parquet shards by split with a manifest."""
    from vicur.steps.portion_step import merged_inputs
    from vicur.steps.stage_step import run_step

    run_step("prepare", step, merged_inputs(portions), dataset)
