"""First step of a run in a cluster: check the form, and make the parameters of the later steps, before anything is spent."""

from kfp import dsl
from vicur_components.component import component

from vicur.cluster.request import form_types
from vicur.config.run import RunConfig
from vicur.steps.preflight_step import TRAINING_RESOURCES, graph_parameters


@component(inputs=form_types(), outputs={**graph_parameters(RunConfig()), **TRAINING_RESOURCES})
def preflight(preset: dict, code_versions: dict, checked: dsl.Output[dsl.Markdown], **parameters):
    """Check the form of a run (:class:`vicur.cluster.request.Request`) over its preset. ``checked`` is the table of checks."""
    from vicur.steps.preflight_step import run_preflight_step

    run_preflight_step(preset, code_versions, parameters, report=checked.path)
