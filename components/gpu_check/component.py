"""Pipeline step: check the GPUs of a node."""

from kfp import dsl
from vicur_components.component import component


@component
def gpu_check(
    shapes: list,
    only: list,
    seconds: float,
    table: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    record: dsl.Output[dsl.Artifact],
):
    """Check the node of this pod as ``vicur gpu-check`` does, and fail if a check does."""
    from vicur.steps.gpu_check_step import run_gpu_check_step

    files = {"table": table.path, "page": page.path, "record": record.path}
    run_gpu_check_step(shapes, only, seconds, files)
