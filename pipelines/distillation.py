"""The steps of a distillation: dataset, cues and base model; a student a method, side by side; comparison, report and registration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp import dsl
from vicur_components.compare.component import compare as compare_step
from vicur_components.evaluate.component import evaluate as evaluate_step
from vicur_components.register.component import register as register_step
from vicur_components.train.component import train as train_step
from vicur_pipelines.settings import Settle
from vicur_pipelines.shared_steps import Keys, add_shared_steps


def distillation_steps(
    settle: Settle, codes: Mapping[str, str], sections: Mapping[str, Any], shared: Mapping[str, Any], keys: Keys
) -> None:
    """Adds the steps to the pipeline that is being defined.

    Args:
        settle: gives a step what every step has.
        codes: code version of each stage.
        sections: the sections of the configuration, ``methods``, ``cluster`` and ``checkpoints`` among them, as parameters of the pipeline.
        shared: arguments that all steps have.
        keys: what each step's inputs hold.
    """
    ground = add_shared_steps(settle, codes, sections, shared, keys)
    with dsl.ParallelFor(sections["methods"], name="each-method") as method:
        trained = settle(
            train_step(
                dataset=ground.dataset,
                cues=ground.cues,
                base=ground.model,
                method=method,
                config=sections["training"],
                code=codes["train"],
                checkpoints=sections["checkpoints"],
                cluster=sections["cluster"],
                given=keys["student"],
                **shared,
            ),
            place="training",
        )
        evaluated = settle(
            evaluate_step(
                dataset=ground.dataset,
                model=trained.outputs["student"],
                subject=method,
                config=sections["evaluation"],
                code=codes["evaluate"],
                given=keys["student"],
                **shared,
            ),
            place="evaluation",
        )

    def collected() -> dict[str, Any]:
        # Compiling changes a Collected: each step that takes the students needs its own.
        return {
            "dataset": ground.dataset,
            "cues": ground.cues,
            "students": dsl.Collected(trained.outputs["student"]),
            "evaluations": dsl.Collected(evaluated.outputs["evaluation"]),
            **shared,
        }

    compared = settle(
        compare_step(
            base=ground.baseline,
            config=sections["comparison"],
            code=codes["compare"],
            given=keys["student"],
            **collected(),
        )
    )
    settle(
        register_step(
            base_evaluation=ground.baseline,
            comparison=compared.outputs["comparison"],
            config=sections["registry"],
            code=codes["register"],
            **collected(),
        ),
        caching=False,
    )
