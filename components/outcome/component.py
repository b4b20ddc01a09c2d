"""Exit step: record how the run ended."""

from kfp import dsl
from vicur_components.component import component


@component
def outcome(
    status: dsl.PipelineTaskFinalStatus,
    tracking: dict,
    record: dsl.Output[dsl.Markdown],
    cluster: dict = {},  # noqa: B006 (KFP reads defaults from the signature)
    gpu_type: str = "",
    node_selector: dict = {},  # noqa: B006
):
    """Record how the run ended and what it used: in MLflow, in the log, in ``record``, and at the webhook if there is one.

    ``gpu_type`` and ``node_selector`` replace those of ``cluster`` unless they are empty.
    """
    from pathlib import Path

    from vicur.steps.exit_step import run_exit_step

    chosen = {"gpu_type": gpu_type, "node_selector": node_selector}
    pool = {**cluster, **{name: value for name, value in chosen.items() if value}}
    Path(record.path).write_text(run_exit_step(status.state, status.error_message, tracking, pool), encoding="utf-8")
