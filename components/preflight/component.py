"""First step: what the form asks for, checked and turned into the run's whole configuration before a GPU is asked for."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preflight(
    preset: dict,
    codes: dict,
    student: str,
    teacher: str,
    methods: list,
    dataset: str,
    cue_provider: str,
    cue_endpoint: str,
    benchmarks: list,
    gpu_type: str,
    gpu_count: int,
    nodes: int,
    node_selector: dict,
    tolerations: list,
    image: str,
    registered_model: str,
    gate_margin: float,
    seed: int,
    overrides: dict,
    checked: dsl.Output[dsl.Markdown],
    chosen_methods: dsl.OutputPath(list),
    root_seed: dsl.OutputPath(int),
    data: dsl.OutputPath(dict),
    cues: dsl.OutputPath(dict),
    base: dsl.OutputPath(dict),
    training: dsl.OutputPath(dict),
    evaluation: dsl.OutputPath(dict),
    comparison: dsl.OutputPath(dict),
    registry: dsl.OutputPath(dict),
    cluster: dsl.OutputPath(dict),
    checkpoints: dsl.OutputPath(str),
    step_gpus: dsl.OutputPath(str),
    step_cpu: dsl.OutputPath(str),
    step_memory: dsl.OutputPath(str),
    step_selector: dsl.OutputPath(dict),
    step_tolerations: dsl.OutputPath(list),
    dataset_key: dsl.OutputPath(str),
    cues_key: dsl.OutputPath(str),
    base_key: dsl.OutputPath(str),
    baseline_key: dsl.OutputPath(str),
    student_key: dsl.OutputPath(str),
):
    """Checks what is asked for, and what it needs of the cluster, before anything is spent.

    Args:
        preset: The run configuration that the package was compiled with.
        codes: Version of the code behind each step.
        student: Checkpoint that students start from.
        teacher: Another checkpoint as the teacher; empty for the method's own.
        methods: Methods to train a student with, side by side.
        dataset: The dataset; empty for the preset's.
        cue_provider: What makes the cues.
        cue_endpoint: Address of the cue model.
        benchmarks: Held-out splits to evaluate on.
        gpu_type: The resource that a GPU is.
        gpu_count: GPUs of a training on each node.
        nodes: Nodes of a training.
        node_selector: Labels of the pool's nodes.
        tolerations: Taints of the pool.
        image: Container image of the steps.
        registered_model: Name of the registered model.
        gate_margin: Least gain on the base that the gate lets through.
        seed: Root of everything random.
        overrides: Any other setting by its dotted name.
        checked: What was checked, and what to do about what is missing.
        chosen_methods: The methods.
        root_seed: The seed.
        data: Section data of the run's configuration.
        cues: Section cues.
        base: Section base.
        training: Section training.
        evaluation: Section evaluation.
        comparison: Section comparison.
        registry: Section registry.
        cluster: Section cluster.
        checkpoints: Where checkpoints are kept.
        step_gpus: GPUs of the training step itself; none where a job of several nodes has them.
        step_cpu: Processor cores of the training step.
        step_memory: Memory of the training step.
        step_selector: Labels of its nodes.
        step_tolerations: Taints that it tolerates.
        dataset_key: What the dataset is made of, for the platform's cache.
        cues_key: What the cues are made of.
        base_key: What the base model is.
        baseline_key: What the base's evaluation is made of.
        student_key: What the students are made of.
    """
    from vicur.steps.preflight_step import first_step

    form = {
        "student": student,
        "teacher": teacher,
        "methods": methods,
        "dataset": dataset,
        "cue_provider": cue_provider,
        "cue_endpoint": cue_endpoint,
        "benchmarks": benchmarks,
        "gpu_type": gpu_type,
        "gpu_count": gpu_count,
        "nodes": nodes,
        "node_selector": node_selector,
        "tolerations": tolerations,
        "image": image,
        "registered_model": registered_model,
        "gate_margin": gate_margin,
        "seed": seed,
        "overrides": overrides,
    }
    outputs = {
        "chosen_methods": chosen_methods,
        "root_seed": root_seed,
        "data": data,
        "cues": cues,
        "base": base,
        "training": training,
        "evaluation": evaluation,
        "comparison": comparison,
        "registry": registry,
        "cluster": cluster,
        "checkpoints": checkpoints,
        "step_gpus": step_gpus,
        "step_cpu": step_cpu,
        "step_memory": step_memory,
        "step_selector": step_selector,
        "step_tolerations": step_tolerations,
        "dataset_key": dataset_key,
        "cues_key": cues_key,
        "base_key": base_key,
        "baseline_key": baseline_key,
        "student_key": student_key,
    }
    first_step(preset, codes, form, outputs, report=checked.path)
