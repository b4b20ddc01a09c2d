"""A correction of ``kfp.local`` 2.17, for running the packages of a cluster on this machine.

It takes every input of a loop that is the output of another task in the same pipeline for the item of the loop. Local runs have no such
inputs, because their parameters are made before the pipeline starts; the packages get theirs from preflight.
"""

from __future__ import annotations

from typing import Any

from kfp.local.orchestrator import enhanced_dag_orchestrator as orchestrator


def correct_loops() -> None:
    """Give loops the outputs of other tasks as if they were inputs of the pipeline. Call this before the pipeline runs."""
    run = orchestrator._run_parallel_for_task

    def corrected(task_name: str, task_spec: Any, *args: Any, **named: Any) -> bool:
        store = named["io_store"]
        for name, given in task_spec.inputs.parameters.items():
            if given.HasField("task_output_parameter"):
                source = given.task_output_parameter
                value = store.get_task_output(source.producer_task, source.output_parameter_key)
                store.put_parent_input(name, value)
                given.component_input_parameter = name
        return bool(run(task_name, task_spec, *args, **named))

    orchestrator._run_parallel_for_task = corrected
