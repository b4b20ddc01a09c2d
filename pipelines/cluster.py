"""The package for a cluster: a form of a few fields over a preset, preflight, and a distillation on pools of GPUs."""

# Without postponed annotations: KFP reads the types of a pipeline's parameters from its signature.
import logging
from collections.abc import Mapping
from typing import Any

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent
from vicur_components.image import IMAGE
from vicur_components.outcome.component import outcome
from vicur_components.preflight.component import preflight
from vicur_pipelines.graph import add_graph, pipeline_with
from vicur_pipelines.pools import ConfigurePoolTask, Placement, TaskResources
from vicur_pipelines.tasks import EXIT, PREFLIGHT

from vicur.config.compact import compact
from vicur.config.run import RunConfig
from vicur.config.sizes import ignored_sizes, sized
from vicur.steps.preflight_step import TRAINING_RESOURCES, graph_parameters

log = logging.getLogger(__name__)

NAME = "vicur-cluster"
_PLACEMENT: Mapping[str, type] = {"image": str, "gpu_type": str, "node_selector": dict, "tolerations": list}


def cluster_pipeline(code_versions: Mapping[str, str], preset: RunConfig) -> GraphComponent:
    """Return the pipeline of the package.

    Args:
        code_versions: code version of each stage.
        preset: configuration of everything that the form leaves open, and the defaults of the form's fields.
    """
    if ignored := ignored_sizes(preset.cluster):
        log.warning("%s has no effect with gpu_count %d.", ignored, preset.cluster.gpu_count)
    preset = sized(preset)
    pool = preset.cluster
    values = preset.model_dump(mode="json", exclude_none=True)
    default_image = pool.image or IMAGE
    provider = values["cues"]["provider"]
    # The exit step prices GPU-hours, and reads nothing else of the section.
    prices = {name: value for name, value in compact(pool).items() if name in ("prices", "currency")}
    graph = _graph_in_pools(preset)

    @dsl.pipeline(name=NAME, display_name=f"ViCuR: {preset.name}")
    def cluster(
        student: str = preset.base.path,
        teacher: str = "",
        methods: list = values["methods"],
        dataset: str = "",
        cue_provider: str = provider["type"],
        cue_endpoint: str = provider.get("url", ""),
        splits: list = values["evaluation"]["splits"],
        gpu_type: str = pool.gpu_type,
        gpu_count: int = pool.gpu_count,
        nodes: int = pool.nodes,
        node_selector: dict = values["cluster"]["node_selector"],
        tolerations: list = values["cluster"]["tolerations"],
        image: str = default_image,
        registered_model: str = preset.registry.model,
        gate_margin: float = preset.registry.gate.margin,
        seed: int = preset.seed,
        overrides: dict = {},  # noqa: B006 (KFP reads defaults from the signature)
    ):
        """Distil a vision-language student on policy with visual cues, evaluate it against its base and register it.

        Args:
            student: Checkpoint that students start from: hf://owner/name@COMMIT, s3://bucket/prefix, pvc://CLAIM/path, a folder below
                /models, or tiny for the one in the image. The run stages a model that it names by an address.
            teacher: Another checkpoint as the teacher, with the student's vocabulary, in the same forms. Empty: the method's own.
            methods: Methods to train a student with, side by side: opsd, opsd-cue, opsd-recovery, vicur, opd, opd-vicur, grpo, sft. The
                best on validation is registered.
            dataset: The dataset: <md5>.dir@s3://bucket/dvc (a hash and DVC's remote), s3://bucket/folder,
                pvc://CLAIM/folder, /mnt/folder or digit-scenes. Empty: the preset's.
            cue_provider: Source of the visual cues: annotation, pixels or endpoint.
            cue_endpoint: Address of the cue model, for the provider endpoint. Its name goes to overrides: {"cues.provider.model": "qwen"}.
            splits: Held-out splits of the dataset to evaluate on. The split test is required.
            gpu_type: Resource name of a GPU, as nodes advertise it.
            gpu_count: GPUs of a training on each node. A package that was compiled with 0 trains on the CPU.
            nodes: Nodes of a training. More than one run as a TrainJob.
            node_selector: Labels of the pool's nodes, such as {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}.
            tolerations: Taints of the pool that pods tolerate, as in Kubernetes.
            image: Container image of the steps.
            registered_model: Name of the registered model in MLflow.
            gate_margin: Smallest gain in accuracy over the base that makes a student champion, as a share (0.02 is two points).
            seed: Root seed of all random draws.
            overrides: Any other setting by its dotted name, such as {"training.steps": 50}. The first step checks them.
        """
        configure = ConfigurePoolTask(pool, Placement(image, gpu_type, node_selector, tolerations))
        ended = outcome(
            tracking=compact(preset.tracking), cluster=prices, gpu_type=gpu_type, node_selector=node_selector
        )
        with dsl.ExitHandler(configure(ended, EXIT), name="run"):
            checked = configure(
                preflight(
                    preset=compact(preset),
                    code_versions=dict(code_versions),
                    student=student,
                    teacher=teacher,
                    methods=methods,
                    dataset=dataset,
                    cue_provider=cue_provider,
                    cue_endpoint=cue_endpoint,
                    splits=splits,
                    gpu_type=gpu_type,
                    gpu_count=gpu_count,
                    nodes=nodes,
                    node_selector=node_selector,
                    tolerations=tolerations,
                    image=image,
                    registered_model=registered_model,
                    gate_margin=gate_margin,
                    seed=seed,
                    overrides=overrides,
                ),
                PREFLIGHT,
            )
            # A retry cannot mend a wrong form.
            checked.set_retry(0)
            made = {name: checked.outputs[name] for name in (*graph_parameters(preset), *TRAINING_RESOURCES)}
            graph(**made, image=image, gpu_type=gpu_type, node_selector=node_selector, tolerations=tolerations)

    return cluster


def _graph_in_pools(preset: RunConfig) -> GraphComponent:
    """Return the steps after preflight, as a pipeline in the pipeline.

    In local runs, KFP 2.17 mistakes the output of another step for the item of a loop if both are in the same pipeline.
    """

    def build(values: Mapping[str, Any]) -> None:
        resources = {name: values[name] for name in TRAINING_RESOURCES}
        training = TaskResources(
            cpu=resources["training_cpu"],
            cpu_limit=resources["training_cpu_limit"],
            memory=resources["training_memory"],
            gpus=resources["training_gpus"],
            node_selector=resources["training_selector"],
            tolerations=resources["training_tolerations"],
        )
        placement = Placement(**{name: values[name] for name in _PLACEMENT}, training=training)
        add_graph(ConfigurePoolTask(preset.cluster, placement), preset, values)

    return pipeline_with("distillation", {**graph_parameters(preset), **TRAINING_RESOURCES, **_PLACEMENT}, build)
