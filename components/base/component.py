"""Pipeline step: provide the base model."""

from kfp import dsl
from vicur_components.component import component


@component
def base(step: dict, model: dsl.Output[dsl.Model]):
    """Copy the checkpoint that students start from, with its tokenizer and image processor."""
    from vicur.steps.stage_step import run_step

    run_step("base", step, {}, model)
