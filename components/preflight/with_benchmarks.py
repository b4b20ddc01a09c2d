"""First step of a run with benchmarks in a cluster. Other runs have another component: each output costs a kilobyte of their status."""

from kfp import dsl
from vicur_components.component import component

from vicur.cluster.request import form_types
from vicur.config.run import RunConfig
from vicur.steps.preflight_step import TRAINING_RESOURCES, possible_parameters


@component(inputs=form_types(), outputs={**possible_parameters(RunConfig), **TRAINING_RESOURCES})
def preflight(preset: dict, code_versions: dict, checked: dsl.Output[dsl.Markdown], **parameters):
    """Check the form of a run (:class:`vicur.cluster.request.Request`) over its preset. ``checked`` is the table of checks."""
    from vicur.steps.preflight_step import run_preflight_step

    run_preflight_step(preset, code_versions, parameters, report=checked.path)
