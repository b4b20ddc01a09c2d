"""First step: what the run needs is looked at, before a GPU is asked for."""

from kfp import dsl
from vicur_components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preflight(config: dict, tracking: dict, findings: dsl.Output[dsl.Markdown]):
    """Checks credentials, buckets, MLflow, models, the cue endpoint and the GPU pool, and fails with a table of remedies.

    Args:
        config: What the run needs of the cluster.
        tracking: Section tracking of the run configuration.
        findings: The table.
    """
    from pathlib import Path

    from vicur.cluster.preflight import run_preflight
    from vicur.errors import VicurError
    from vicur.step import fail

    try:
        Path(findings.path).write_text(run_preflight(config, tracking), encoding="utf-8")
    except VicurError as error:
        fail(error)
