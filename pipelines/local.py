"""Executes the pipeline on this machine: the process between the supervisor and the steps.

Run as ``python -m vicur_pipelines.local RUN_FOLDER``. It is a process of its own because kfp.local prints as it pleases, on
whatever stands for standard output, and because a process group can be stopped whole.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path

from vicur_pipelines.graph import graph_of
from vicur_pipelines.run_folder import RunFolder

from vicur.processes.lifeline import watch
from vicur.stage.table import STAGES


def execute(run: RunFolder) -> None:
    """Executes the pipeline as the run's configuration asks.

    Raises:
        RuntimeError: where a step failed; its own log and the event log say why.
    """
    from kfp import local

    config = run.config()
    graph = graph_of(config)
    # A step that failed for a moment (a server that restarts) is tried once more; one whose input is wrong fails at once.
    pipeline = graph.build(code_versions(), config, retries=1, backoff="1s")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(run.outputs.absolute()), raise_on_error=True)
    pipeline(**graph.arguments(config))


def code_versions() -> dict[str, str]:
    """Version of the code behind each stage."""
    return {name: entry.reference.code for name, entry in STAGES.items()}


def main() -> None:
    """Entry point."""
    run = RunFolder(Path(sys.argv[1]))
    # Without the supervisor, all steps are to end too.
    watch(run.lock, lambda: os.killpg(0, signal.SIGKILL))
    # Steps run in this very environment: that the image's name says nothing of it is no news.
    warnings.filterwarnings("ignore", message="You may be attemping to run a task")
    warnings.filterwarnings("ignore", message=".*no effect in the current local runner.*")
    execute(run)


if __name__ == "__main__":
    main()
