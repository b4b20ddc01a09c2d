"""The ablation: dataset, cues and base once; a student a cell (an arm with a seed), side by side; one page of results."""

from collections.abc import Mapping
from functools import partial

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from vicur_components.ablate.component import ablate as ablate_step
from vicur_components.evaluate.component import evaluate as evaluate_step
from vicur_components.outcome.component import outcome as outcome_step
from vicur_components.train.component import train as train_step
from vicur_pipelines.settings import settled
from vicur_pipelines.shared_steps import add_shared_steps

NAME = "vicur-ablation"


def ablation_pipeline(codes: Mapping[str, str], *, retries: int = 2, backoff: str = "30s") -> GraphComponent:
    """Builds the pipeline.

    Args:
        codes: code version of each stage, constants of the graph.
        retries: how often a failed step is tried again.
        backoff: pause before the first retry; it doubles with each.
    """
    settle = partial(settled, retries=retries, backoff=backoff)

    @dsl.pipeline(name=NAME, display_name="ViCuR: arms by seeds, and what holds")
    def ablation(
        cells: list = [],  # noqa: B006 (KFP reads defaults from the signature)
        seed: int = 0,
        data: dict = {"type": "digit_scenes"},  # noqa: B006
        cues: dict = {},  # noqa: B006
        base: dict = {},  # noqa: B006
        evaluation: dict = {},  # noqa: B006
        analysis: dict = {"arms": []},  # noqa: B006
        tracking: dict = {},  # noqa: B006
        checkpoints: str = "",
    ):
        """Trains and evaluates a student for each arm and seed, and writes what the arms come to and what of it is sure.

        Args:
            cells: The cells, each with subject, student, seed, method, training and evaluation. 'vicur compile --pipeline ablation' with a
                configuration of arms and seeds fills them in.
            seed: Root of what all cells share: dataset, cues and intervals.
            data: Where the dataset comes from. What a section leaves out has the library's default.
            cues: What makes the visual cues, and the audit's limits.
            base: The model that students start from.
            evaluation: How the base is evaluated.
            analysis: The arms and contrasts of the results, and the settings of their intervals.
            tracking: MLflow's address and experiment.
            checkpoints: Folder or address on S3 below which the checkpoints of trainings are kept. Empty keeps them on the step's own
                machine.
        """
        shared = {"seed": seed, "tracking": tracking}
        ended = settle(outcome_step(tracking=tracking), caching=False)
        with dsl.ExitHandler(ended, name="ablation"):
            sections = {
                "data": data,
                "cues": cues,
                "base": base,
                "evaluation": evaluation,
                "checkpoints": checkpoints,
            }
            ground = add_shared_steps(settle, codes, sections, shared)
            with dsl.ParallelFor(cells, name="each-cell") as cell:
                trained = settle(
                    train_step(
                        dataset=ground.dataset,
                        cues=ground.cues,
                        base=ground.model,
                        method=cell.method,
                        subject=cell.student,
                        config=cell.training,
                        seed=cell.seed,
                        tracking=tracking,
                        code=codes["train"],
                        checkpoints=checkpoints,
                    ),
                    place="training",
                )
                evaluated = settle(
                    evaluate_step(
                        dataset=ground.dataset,
                        model=trained.outputs["student"],
                        subject=cell.subject,
                        config=cell.evaluation,
                        seed=cell.seed,
                        tracking=tracking,
                        code=codes["evaluate"],
                    ),
                    place="evaluation",
                )
            settle(
                ablate_step(
                    base=ground.baseline,
                    evaluations=dsl.Collected(evaluated.outputs["evaluation"]),
                    students=dsl.Collected(trained.outputs["student"]),
                    config=analysis,
                    code=codes["ablate"],
                    **shared,
                )
            )

    return ablation
