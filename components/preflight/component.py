"""First step of a run in a cluster: check the form, and make the parameters of the later steps, before anything is spent."""

from kfp import dsl
from vicur_components.component import component

from vicur.config.run import RunConfig
from vicur.steps.preflight_step import TRAINING_RESOURCES, graph_parameters


@component(outputs={**graph_parameters(RunConfig()), **TRAINING_RESOURCES})
def preflight(
    preset: dict,
    code_versions: dict,
    student: str,
    teacher: str,
    methods: list,
    dataset: str,
    cue_provider: str,
    cue_endpoint: str,
    splits: list,
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
    **parameters,
):
    """Check the form of a run (:class:`vicur.cluster.request.Request`) over its preset. ``checked`` is the table of checks."""
    form = locals()
    from vicur.steps.preflight_step import run_preflight_step

    run_preflight_step(preset, code_versions, form, parameters, report=checked.path)
