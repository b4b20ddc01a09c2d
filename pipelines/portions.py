"""Stages in portions: a step that divides the work, a loop of steps that each work on one portion, and the step that merges.

    prepare-plan ─ for each portion: prepare-portion ─ prepare
                                                          └─ extract-plan ─ for each portion: extract-portion ─ extract

Whether a stage has this form is decided when a package is compiled, because a condition at run time would be two more levels of drivers in
every run. How many portions there are is decided by the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kfp import dsl
from kfp.dsl.pipeline_channel import PipelineChannel
from vicur_components.extract import portions as extract
from vicur_components.prepare import portions as prepare
from vicur_pipelines.tasks import ConfigureTask

from vicur.config.portions import PortionCount
from vicur.stage.table import PipelineStep

AUTO = 0
"""The argument of a plan for a number of portions that follows from the number of rows."""


@dataclass(frozen=True)
class Steps:
    """The components of a stage in portions."""

    plan: Callable[..., dsl.PipelineTask]
    portion: Callable[..., dsl.PipelineTask]
    merge: Callable[..., dsl.PipelineTask]


STEPS = {
    "prepare": Steps(prepare.prepare_plan, prepare.prepare_portion, prepare.prepare),
    "extract": Steps(extract.extract_plan, extract.extract_portion, extract.extract),
}


def add_portions(
    configure: ConfigureTask, step: PipelineStep, parameters: Any, count: PortionCount, **artifacts: PipelineChannel
) -> dsl.PipelineTask:
    """Add the steps of a stage in portions, and return the task that merges them.

    Args:
        parameters: the parameter ``step`` of the stage.
        artifacts: inputs of the stage.
    """
    steps = STEPS[step.name]
    number = AUTO if count == "auto" else count
    # Only the portions call the cue model, and only the merge logs to MLflow.
    plan = configure(
        steps.plan(step=parameters, count=number, **artifacts), replace(step.needs, cue_key=False, tracking=False)
    )
    with dsl.ParallelFor(plan.outputs["portions"], name=f"each-portion-of-{step.name}") as item:
        portion = configure(steps.portion(step=item.step, **artifacts), replace(step.needs, tracking=False)).outputs[
            "portion"
        ]
    return configure(
        steps.merge(step=parameters, portions=dsl.Collected(portion), **artifacts), replace(step.needs, cue_key=False)
    )
