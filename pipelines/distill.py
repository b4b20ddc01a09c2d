"""The pipeline whose parameters are the sections of a run's configuration: what a run on this machine runs."""

from collections.abc import Mapping
from functools import partial

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from vicur_components.outcome.component import outcome as outcome_step
from vicur_pipelines.distillation import distillation_steps
from vicur_pipelines.settings import settled
from vicur_pipelines.shared_steps import NO_KEYS

NAME = "vicur-distill"


def distill_pipeline(codes: Mapping[str, str], *, retries: int = 2, backoff: str = "30s") -> GraphComponent:
    """Builds the pipeline.

    Args:
        codes: code version of each stage. They are constants of the graph and not parameters: who starts a run has no
            business changing them, and the platform's cache keys on them.
        retries: how often a failed step is tried again.
        backoff: pause before the first retry; it doubles with each.
    """

    settle = partial(settled, retries=retries, backoff=backoff)

    @dsl.pipeline(name=NAME, display_name="ViCuR: distill a student with visual cues")
    def distill(
        methods: list = ["vicur"],  # noqa: B006 (KFP reads defaults from the signature)
        seed: int = 0,
        data: dict = {"type": "digit_scenes"},  # noqa: B006
        cues: dict = {},  # noqa: B006
        base: dict = {},  # noqa: B006
        training: dict = {},  # noqa: B006
        evaluation: dict = {},  # noqa: B006
        comparison: dict = {},  # noqa: B006
        registry: dict = {},  # noqa: B006
        tracking: dict = {},  # noqa: B006
        checkpoints: str = "",
    ):
        """Distils a vision-language student on policy with visual cues, evaluates it against its base and registers it.

        Args:
            methods: Methods to train a student with, side by side: opsd, opsd-cue, opsd-recovery, vicur, opd, opd-vicur, grpo, sft. The
                best is registered.
            seed: Root of everything random.
            data: Where the dataset comes from. What a section leaves out has the library's default.
            cues: What makes the visual cues, and the audit's limits.
            base: The model that students start from.
            training: Settings of the trainings; those that the methods do not share stand in per_method.
            evaluation: How base and students are evaluated.
            comparison: How they are compared.
            registry: Registered model and gate.
            tracking: MLflow's address and experiment.
            checkpoints: Folder or address on S3 below which the checkpoints of trainings are kept, so that a step that is started again
                on another machine goes on. Empty keeps them on the step's own machine.
        """
        shared = {"seed": seed, "tracking": tracking}
        ended = settle(outcome_step(tracking=tracking), caching=False)
        with dsl.ExitHandler(ended, name="distillation"):
            sections = {
                "methods": methods,
                "data": data,
                "cues": cues,
                "base": base,
                "training": training,
                "evaluation": evaluation,
                "comparison": comparison,
                "registry": registry,
                "checkpoints": checkpoints,
                # Each step works where the platform puts it.
                "cluster": {},
            }
            distillation_steps(settle, codes, sections, shared, NO_KEYS)

    return distill
