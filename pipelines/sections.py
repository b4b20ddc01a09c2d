"""The packages ``distill`` and ``ablation``: parameters are whole sections of a configuration, and pods run wherever KFP puts them."""

# Without postponed annotations: KFP reads the types of a pipeline's parameters from its signature.
from collections.abc import Mapping
from functools import partial
from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from vicur_components.outcome.component import outcome
from vicur_components.preflight.sections import preflight
from vicur_pipelines.graph import add_graph, pipeline_with
from vicur_pipelines.tasks import EXIT, PREFLIGHT, configure_task

from vicur.config.ablation import AblationConfig, Arm
from vicur.config.run import RunConfig
from vicur.stage.table import PipelineConfig
from vicur.steps.preflight_step import graph_parameters

DISTILL = "vicur-distill"
ABLATION = "vicur-ablation"
_configure = partial(configure_task, retries=2, backoff="30s")


def distill_pipeline(code_versions: Mapping[str, str]) -> GraphComponent:
    """Return the pipeline of a distillation. The code versions are constants of the package, not fields of its form."""

    graph = _graph(RunConfig())

    @dsl.pipeline(name=DISTILL, display_name="ViCuR: distill a student with visual cues")
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
        """Distil a vision-language student on policy with visual cues, evaluate it against its base and register it.

        Args:
            methods: Methods to train a student with, side by side: opsd, opsd-cue, opsd-recovery, vicur, opd, opd-vicur, grpo, sft. The
                best is registered.
            seed: Root seed of all random draws.
            data: Source of the dataset. Settings that a section leaves out have the library's defaults.
            cues: Source of the visual cues, and the audit's limits.
            base: The model that students start from.
            training: Settings of the trainings. Those of a single method go into per_method.
            evaluation: How base and students are evaluated.
            comparison: How they are compared.
            registry: Registered model and gate.
            tracking: MLflow's address and experiment.
            checkpoints: Folder or S3 address that checkpoints are kept below, so that a training resumes on another machine. Empty keeps
                them on the step's machine.
        """
        _add_tasks(
            graph,
            code_versions,
            tracking,
            methods=methods,
            seed=seed,
            data=data,
            cues=cues,
            base=base,
            training=training,
            evaluation=evaluation,
            comparison=comparison,
            registry=registry,
            checkpoints=checkpoints,
        )

    return distill


def ablation_pipeline(code_versions: Mapping[str, str]) -> GraphComponent:
    """Return the pipeline of an ablation."""

    # The graph depends on the type of the configuration, not on its arms.
    graph = _graph(AblationConfig(arms=(Arm(name="any", about="any", method="vicur"),)))

    @dsl.pipeline(name=ABLATION, display_name="ViCuR: arms by seeds")
    def ablation(
        analysis: dict = {"arms": []},  # noqa: B006 (KFP reads defaults from the signature)
        seeds: list = [0, 1, 2, 3, 4],  # noqa: B006
        seed: int = 0,
        data: dict = {"type": "digit_scenes"},  # noqa: B006
        cues: dict = {},  # noqa: B006
        base: dict = {},  # noqa: B006
        training: dict = {},  # noqa: B006
        evaluation: dict = {},  # noqa: B006
        tracking: dict = {},  # noqa: B006
        checkpoints: str = "",
    ):
        """Train and evaluate a student for each arm and seed, and summarize the differences between the arms.

        Args:
            analysis: The arms and contrasts, and the settings of the intervals. 'vicur compile --pipeline ablation' with the configuration
                of an ablation fills them in.
            seeds: Root seeds of the trainings: each arm is trained with each of them.
            seed: Root seed of what all cells share: dataset, cues and intervals.
            data: Source of the dataset. Settings that a section leaves out have the library's defaults.
            cues: Source of the visual cues, and the audit's limits.
            base: The model that students start from.
            training: Settings of the trainings that the arms share.
            evaluation: How base and students are evaluated.
            tracking: MLflow's address and experiment.
            checkpoints: Folder or S3 address that checkpoints are kept below. Empty keeps them on the step's machine.
        """
        _add_tasks(
            graph,
            code_versions,
            tracking,
            analysis=analysis,
            seeds=seeds,
            seed=seed,
            data=data,
            cues=cues,
            base=base,
            training=training,
            evaluation=evaluation,
            checkpoints=checkpoints,
        )

    return ablation


def _graph(config: PipelineConfig) -> GraphComponent:
    """Return the steps after preflight, as a pipeline in the pipeline.

    In local runs, KFP 2.17 mistakes the output of another step for the item of a loop if both are in the same pipeline.
    """

    def build(values: Mapping[str, Any]) -> None:
        add_graph(_configure, config, values)

    name = "ablation" if isinstance(config, AblationConfig) else "distillation"
    return pipeline_with(name, graph_parameters(config), build)


def _add_tasks(graph: GraphComponent, code_versions: Mapping[str, str], tracking: Any, **sections: Any) -> None:
    """Add preflight, the graph and the exit step to the pipeline that is being defined, with its parameters as channels."""
    with dsl.ExitHandler(_configure(outcome(tracking=tracking), EXIT), name="run"):
        checked = _configure(preflight(code_versions=dict(code_versions), tracking=tracking, **sections), PREFLIGHT)
        # A retry cannot mend wrong settings.
        checked.set_retry(0)
        graph(**{name: checked.outputs[name] for name in graph.component_spec.inputs})
