"""The steps that every pipeline begins with: dataset, cues and base model, and how the base answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vicur_components.base.component import base as base_step
from vicur_components.evaluate.component import evaluate as evaluate_step
from vicur_components.extract.component import extract as extract_step
from vicur_components.prepare.component import prepare as prepare_step


@dataclass(frozen=True)
class Groundwork:
    """What the trainings and evaluations of a pipeline start from, as outputs of its steps.

    Attributes:
        dataset: the dataset.
        cues: its cues.
        model: the base model.
        baseline: the base model's evaluation.
    """

    dataset: Any
    cues: Any
    model: Any
    baseline: Any


def lay_groundwork(
    settle: Callable[..., Any], codes: Mapping[str, str], sections: Mapping[str, Any], shared: Mapping[str, Any]
) -> Groundwork:
    """Adds the first steps to the pipeline that is being defined.

    Args:
        settle: gives a step what every step has.
        codes: code version of each stage.
        sections: the sections ``data``, ``cues``, ``base`` and ``evaluation``, as parameters of the pipeline.
        shared: arguments that all steps have.
    """
    prepared = settle(prepare_step(config=sections["data"], code=codes["prepare"], **shared))
    dataset = prepared.outputs["dataset"]
    extracted = settle(extract_step(dataset=dataset, config=sections["cues"], code=codes["extract"], **shared))
    model = settle(base_step(config=sections["base"], code=codes["base"], **shared)).outputs["model"]
    evaluated = settle(
        evaluate_step(
            dataset=dataset,
            model=model,
            subject="base",
            config=sections["evaluation"],
            code=codes["evaluate"],
            **shared,
        )
    )
    return Groundwork(dataset, extracted.outputs["cues"], model, evaluated.outputs["evaluation"])
