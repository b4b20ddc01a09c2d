"""Execute a pipeline on this machine: ``python -m vicur_pipelines.local RUN_FOLDER``."""

# A separate process, because kfp.local prints to standard output, and because a process group can be stopped as a whole.

from __future__ import annotations

import os
import signal
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicur_pipelines.forked import ForkedSteps, can_fork
from vicur_pipelines.run_folder import RunFolder
from vicur_pipelines.table import pipeline_of

from vicur.config.compact import compact
from vicur.processes.lifeline import watch
from vicur.stage.table import STAGES, PipelineConfig
from vicur.steps.parameters import pipeline_parameters

if TYPE_CHECKING:
    from kfp.dsl.graph_component import GraphComponent


def execute(run: RunFolder) -> None:
    """Execute the pipeline of a run. Raise :class:`RuntimeError` if a step failed; the step's events and log have the reason."""
    from kfp import local
    from kfp.local import subprocess_task_handler

    config = run.config()
    if can_fork():
        # kfp.local has no setting for how a step's process starts.
        steps = ForkedSteps(run.events, subprocess_task_handler.run_local_subprocess)
        subprocess_task_handler.run_local_subprocess = steps.run
        steps.start()
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(run.outputs.absolute()), raise_on_error=True)
    # One retry helps against a server that restarts. A step whose input is at fault fails at once.
    build(config, retries=1, backoff="1s")(**arguments(config))


def build(config: PipelineConfig, *, retries: int, backoff: str = "1s") -> GraphComponent:
    """Return the pipeline of a local run."""
    from vicur_pipelines.graph import local_pipeline
    from vicur_pipelines.tasks import configure_task

    configure = partial(configure_task, retries=retries, backoff=backoff)
    return local_pipeline(pipeline_of(config).kfp_name, configure, config)


def arguments(config: PipelineConfig) -> dict[str, Any]:
    """Return the arguments of the pipeline of a local run."""
    return {**pipeline_parameters(config), "tracking": compact(config.tracking)}


def code_versions() -> dict[str, str]:
    """Return the code version of each stage."""
    return {name: entry.reference.code for name, entry in STAGES.items()}


def main() -> None:
    run = RunFolder(Path(sys.argv[1]))
    # If the supervisor dies, all steps must end, too.
    watch(run.lock, lambda: os.killpg(0, signal.SIGKILL))
    # Steps run in this environment, so kfp's warnings about the image and about pods do not apply.
    warnings.filterwarnings("ignore", message="You may be attemping to run a task")
    warnings.filterwarnings("ignore", message=".*no effect in the current local runner.*")
    execute(run)


if __name__ == "__main__":
    main()
