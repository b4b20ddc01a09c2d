"""Exit step: records how the run ended, whatever happened in it."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def outcome(status: dsl.PipelineTaskFinalStatus, tracking: dict, record: dsl.Output[dsl.Markdown]):
    """Records how the run ended: in the tracking server, in the log and in this artifact.

    Args:
        status: State of the run's body, from the platform.
        tracking: Section tracking of the run configuration.
        record: The outcome in words.
    """
    from pathlib import Path

    from vicur.outcome import record_outcome

    Path(record.path).write_text(record_outcome(status.state, status.error_message, tracking), encoding="utf-8")
