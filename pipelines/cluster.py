"""The pipeline for a cluster: a form of a few fields over a preset, checked first, and then a distillation on pools of GPUs."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from vicur_components.image import IMAGE
from vicur_components.outcome.component import outcome as outcome_step
from vicur_components.preflight.component import preflight as preflight_step
from vicur_pipelines.distillation import distillation_steps
from vicur_pipelines.pools import InPools, Placement, Room

from vicur.cluster.keys import KEYS
from vicur.config.run import STEP_SECTIONS, RunConfig

NAME = "vicur-cluster"


def cluster_pipeline(codes: Mapping[str, str], preset: RunConfig) -> GraphComponent:
    """Builds the pipeline.

    Args:
        codes: code version of each stage.
        preset: what the form does not say; its own values are the form's defaults.
    """
    pools = preset.cluster
    values = preset.model_dump(mode="json", exclude_none=True)
    own = values["cluster"]
    default_image = pools.image or IMAGE
    provider = values["cues"]["provider"]
    tracking = values["tracking"]
    inner = _distillation(codes, pools_of=preset, tracking=tracking)

    @dsl.pipeline(name=NAME, display_name=f"ViCuR: {preset.name}")
    def cluster(
        student: str = preset.base.path,
        teacher: str = "",
        methods: list = values["methods"],
        dataset: str = "",
        cue_provider: str = provider["type"],
        cue_endpoint: str = provider.get("url", ""),
        benchmarks: list = values["evaluation"]["splits"],
        gpu_type: str = pools.gpu_type,
        gpu_count: int = pools.gpu_count,
        nodes: int = pools.nodes,
        node_selector: dict = own["node_selector"],
        tolerations: list = own["tolerations"],
        image: str = default_image,
        registered_model: str = preset.registry.model,
        gate_margin: float = preset.registry.gate.margin,
        seed: int = preset.seed,
        overrides: dict = {},  # noqa: B006 (KFP reads defaults from the signature)
    ):
        """Distils a vision-language student on policy with visual cues, evaluates it against its base and registers it.

        Args:
            student: Checkpoint that students start from: a folder below /models, or tiny for the one in the image.
            teacher: Another checkpoint as the teacher, with the student's vocabulary. Empty: the method's own.
            methods: Methods to train a student with, side by side: opsd, opsd-cue, opsd-recovery, vicur, opd, opd-vicur, grpo, sft. The
                best on validation is registered.
            dataset: The dataset: <md5>.dir@s3://bucket/dvc (a hash, and DVC's remote), s3://bucket/folder, /mnt/folder or digit-scenes.
                Empty: the preset's.
            cue_provider: What makes the visual cues: annotation, pixels or endpoint.
            cue_endpoint: Address of the cue model, for the provider endpoint.
            benchmarks: Held-out splits of the dataset to evaluate on; test is always one.
            gpu_type: The resource that a GPU is, as nodes advertise it.
            gpu_count: GPUs of a training on each node. 0 trains on the processor.
            nodes: Nodes of a training. More than one are a TrainJob.
            node_selector: Labels of the pool's nodes, as {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}.
            tolerations: Taints of the pool, as Kubernetes has them.
            image: Container image of the steps.
            registered_model: Name of the registered model in MLflow.
            gate_margin: Least gain in accuracy on the base that makes a student champion, as a share (0.02 is two points).
            seed: Root of everything random.
            overrides: Any other setting of the configuration by its dotted name, as {"training.steps": 50}. Checked in the first step.
        """
        anywhere = InPools(pools, Placement(image, gpu_type, node_selector, tolerations))
        chosen = {"gpu_type": gpu_type, "node_selector": node_selector}
        ended = anywhere(outcome_step(tracking=tracking, cluster=own, **chosen), caching=False)
        with dsl.ExitHandler(ended, name="run"):
            first = anywhere(
                preflight_step(
                    preset=values,
                    codes=dict(codes),
                    student=student,
                    teacher=teacher,
                    methods=methods,
                    dataset=dataset,
                    cue_provider=cue_provider,
                    cue_endpoint=cue_endpoint,
                    benchmarks=benchmarks,
                    nodes=nodes,
                    gpu_count=gpu_count,
                    tolerations=tolerations,
                    image=image,
                    registered_model=registered_model,
                    gate_margin=gate_margin,
                    seed=seed,
                    overrides=overrides,
                    **chosen,
                ),
                caching=False,
            )
            # What is wrong with a form stays wrong.
            first.set_retry(0)
            made = first.outputs
            inner(
                methods=made["chosen_methods"],
                seed=made["root_seed"],
                **{name: made[name] for name in STEP_SECTIONS},
                **{f"{name}_key": made[f"{name}_key"] for name in KEYS},
                checkpoints=made["checkpoints"],
                image=image,
                node_selector=node_selector,
                tolerations=tolerations,
                gpu_type=gpu_type,
                **{name: made[name] for name in _STEP},
            )

    return cluster


_STEP = ("step_gpus", "step_cpu", "step_memory", "step_selector", "step_tolerations")


def _distillation(codes: Mapping[str, str], pools_of: RunConfig, tracking: Mapping[str, Any]) -> GraphComponent:
    """The steps after the first, as a pipeline in the pipeline: what the first step puts out is what this one takes.

    Locally, KFP 2.17 mistakes another step's output for the item of a loop, where the loop stands beside that step.
    """

    @dsl.pipeline(name="distillation")
    def distillation(
        methods: list,
        seed: int,
        data: dict,
        cues: dict,
        base: dict,
        training: dict,
        evaluation: dict,
        comparison: dict,
        registry: dict,
        cluster: dict,
        checkpoints: str,
        dataset_key: str,
        cues_key: str,
        base_key: str,
        baseline_key: str,
        student_key: str,
        image: str,
        gpu_type: str,
        step_gpus: str,
        step_cpu: str,
        step_memory: str,
        step_selector: dict,
        step_tolerations: list,
        node_selector: dict,
        tolerations: list,
    ):
        sections = {
            "methods": methods,
            "data": data,
            "cues": cues,
            "base": base,
            "training": training,
            "evaluation": evaluation,
            "comparison": comparison,
            "registry": registry,
            "cluster": cluster,
            "checkpoints": checkpoints,
        }
        keys = {
            "dataset": dataset_key,
            "cues": cues_key,
            "base": base_key,
            "baseline": baseline_key,
            "student": student_key,
        }
        training_step = Room(step_cpu, step_memory, step_gpus, step_selector, step_tolerations)
        placement = Placement(image, gpu_type, node_selector, tolerations, training_step)
        settle = InPools(pools_of.cluster, placement)
        distillation_steps(settle, codes, sections, {"seed": seed, "tracking": dict(tracking)}, keys)

    return distillation
