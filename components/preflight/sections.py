"""First step of the packages whose parameters are whole sections of a configuration."""

from kfp import dsl
from vicur_components.component import component

from vicur.steps.preflight_step import graph_parameters


# Named as the step of the other package: network policies and docs know it as preflight.
@component(outputs=graph_parameters())
def preflight(
    code_versions: dict,
    seed: int,
    data: dict,
    cues: dict,
    base: dict,
    training: dict,
    evaluation: dict,
    tracking: dict,
    checkpoints: str,
    checked: dsl.Output[dsl.Markdown],
    methods: list = [],  # noqa: B006 (KFP reads defaults from the signature)
    comparison: dict = {},  # noqa: B006
    registry: dict = {},  # noqa: B006
    seeds: list = [],  # noqa: B006
    analysis: dict = {},  # noqa: B006
    **outputs,
):
    """Validate the sections of a distillation, or of an ablation if ``analysis`` is not empty. ``checked`` describes the run."""
    sections = locals()
    from vicur.steps.preflight_step import run_sections_step

    run_sections_step(sections, code_versions, outputs, report=checked.path)
