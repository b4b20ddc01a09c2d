"""The steps that every pipeline begins with: dataset, cues and base model, and how the base answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vicur_components.base.component import base as base_step
from vicur_components.evaluate.component import evaluate as evaluate_step
from vicur_components.extract.component import extract as extract_step
from vicur_components.prepare.component import prepare as prepare_step
from vicur_pipelines.settings import Settle

Keys = Mapping[str, Any]
"""What the inputs of steps hold, by what they make: ``dataset``, ``cues``, ``base``, ``baseline``, ``student``. Each is a parameter of its
component, and so a part of the platform's cache key."""
NO_KEYS: Keys = dict.fromkeys(("dataset", "cues", "base", "baseline", "student"), "")
"""Of a run on this machine, which caches by the content itself."""


@dataclass(frozen=True)
class SharedSteps:
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


def add_shared_steps(
    settle: Settle,
    codes: Mapping[str, str],
    sections: Mapping[str, Any],
    shared: Mapping[str, Any],
    keys: Keys = NO_KEYS,
) -> SharedSteps:
    """Adds the first steps to the pipeline that is being defined.

    Args:
        settle: gives a step what every step has.
        codes: code version of each stage.
        sections: the sections ``data``, ``cues``, ``base`` and ``evaluation``, and ``checkpoints``, as parameters of the pipeline.
        shared: arguments that all steps have.
        keys: what each step's inputs hold.
    """
    prepared = settle(prepare_step(config=sections["data"], code=codes["prepare"], given=keys["dataset"], **shared))
    dataset = prepared.outputs["dataset"]
    extracted = settle(
        extract_step(
            dataset=dataset,
            config=sections["cues"],
            code=codes["extract"],
            checkpoints=sections["checkpoints"],
            given=keys["cues"],
            **shared,
        )
    )
    based = settle(base_step(config=sections["base"], code=codes["base"], given=keys["base"], **shared))
    model = based.outputs["model"]
    evaluated = settle(
        evaluate_step(
            dataset=dataset,
            model=model,
            subject="base",
            config=sections["evaluation"],
            code=codes["evaluate"],
            given=keys["baseline"],
            **shared,
        ),
        place="evaluation",
    )
    return SharedSteps(dataset, extracted.outputs["cues"], model, evaluated.outputs["evaluation"])
