"""First step of the packages whose parameters are whole sections of a configuration."""

from kfp import dsl
from vicur_components.component import component

from vicur.steps.preflight_step import graph_parameters
from vicur.steps.sections import section_types


# Named as the first step of the other package, so that network policies and documentation apply to both.
@component(inputs={**section_types(), "cluster": dict}, outputs=graph_parameters())
def preflight(code_versions: dict, checked: dsl.Output[dsl.Markdown], **parameters):
    """Check the sections of a distillation, or of an ablation if ``analysis`` is not empty. ``checked`` describes the run."""
    from vicur.steps.preflight_step import run_sections_step

    run_sections_step(parameters, code_versions, report=checked.path)
