"""Compile a pipeline into a package for a cluster."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from vicur_pipelines.table import PIPELINES

from vicur.config.cluster import ClusterConfig
from vicur.config.run import RunConfig
from vicur.config.section import Section
from vicur.config.sources import Sources
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.stage.code_version import missing_libraries
from vicur.stage.table import STAGES
from vicur.storage.folders import new_file

if TYPE_CHECKING:
    from kfp.dsl.graph_component import GraphComponent

log = logging.getLogger(__name__)


def write_package(
    output: Path, config: Section | None, image: str | None, versioned: bool, pipeline: str = "distill"
) -> None:
    """Compile a pipeline to the file ``output``.

    ``config`` provides the defaults of the package's parameters, ``image`` replaces the image of this release, and ``versioned`` adds
    the code versions of the steps.

    Raises:
        VicurError: if the image is not valid or the file cannot be written.
    """
    _use_image(image)
    # A package under version control should not change with the code.
    versions = _code_versions() if versioned else dict.fromkeys(STAGES, "")
    _write(output, PIPELINES[pipeline].package(versions, config))


def write_gpu_check(output: Path, config: RunConfig, image: str | None) -> None:
    """Compile the run of one step that checks a GPU node of a configuration's cluster, as :func:`write_package` does."""
    _use_image(image)
    from vicur_pipelines.gpu_check import gpu_check_pipeline

    _write(output, gpu_check_pipeline(config))


def _use_image(image: str | None) -> None:
    if image is None:
        return
    if not image:
        raise VicurError(
            "the name of the image is empty.", where="--image", remedy="Name an image, or omit the option."
        )
    validated(ClusterConfig, {"image": image}, Sources("--image", options={"image": "--image"}))
    # Read when the components are imported.
    os.environ["VICUR_IMAGE"] = image


def _write(output: Path, pipeline: GraphComponent) -> None:
    from kfp import compiler
    from vicur_pipelines.slim import slim

    with tempfile.TemporaryDirectory() as folder, new_file(output) as partial:
        # The compiler chooses the format by the file's suffix.
        file = Path(folder) / "package.yaml"
        compiler.Compiler().compile(pipeline, str(file))
        partial.write_text(slim(file.read_text(encoding="utf-8")), encoding="utf-8")


def _code_versions() -> dict[str, str]:
    """Return the versions of the code that the package is compiled for, with which preflight compares its image."""
    from vicur_pipelines.local import code_versions

    missing = missing_libraries()
    if not missing:
        return code_versions()
    log.warning(
        "The package does not record which code it was compiled for, because %s %s not installed here: its first step cannot warn if the "
        "image holds other code.",
        ", ".join(missing),
        "is" if len(missing) == 1 else "are",
    )
    return dict.fromkeys(STAGES, "")
