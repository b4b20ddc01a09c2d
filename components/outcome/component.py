"""Exit step: records how the run ended, whatever happened in it."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def outcome(
    status: dsl.PipelineTaskFinalStatus,
    tracking: dict,
    record: dsl.Output[dsl.Markdown],
    cluster: dict = {},  # noqa: B006
    gpu_type: str = "",
    node_selector: dict = {},  # noqa: B006
):
    """Records how the run ended and what it used: in the tracking server, in the log, in this artifact, and at a webhook if there is one.

    Args:
        status: State of the run's body, from the platform.
        tracking: Section tracking of the run configuration.
        record: The outcome in words.
        cluster: Section cluster of the run configuration, for what a GPU costs.
        gpu_type: The resource that a GPU was in this run; empty for the section's.
        node_selector: Labels of the pool that this run was placed in; none for the section's.
    """
    from pathlib import Path

    from vicur.steps.exit_step import record_outcome

    chosen = {"gpu_type": gpu_type, "node_selector": node_selector}
    pool = {**cluster, **{name: value for name, value in chosen.items() if value}}
    Path(record.path).write_text(record_outcome(status.state, status.error_message, tracking, pool), encoding="utf-8")
