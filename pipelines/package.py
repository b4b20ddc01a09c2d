"""Compiles a pipeline into a package for a cluster."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from vicur_pipelines.table import PIPELINES

from vicur.config.cluster import ClusterConfig
from vicur.config.section import Section
from vicur.config.validation import validated
from vicur.errors import VicurError
from vicur.stage.table import STAGES
from vicur.storage.folders import new_file


def write_package(
    output: Path, config: Section | None, image: str | None, versioned: bool, pipeline: str = "distill"
) -> None:
    """Compiles a pipeline to ``output``.

    Args:
        output: file to write.
        config: its sections become the defaults of the pipeline's parameters; the library's defaults if left out.
        image: container image of the steps; the one that this release names if left out.
        versioned: whether steps carry the version of their code. The same graph then compiles differently after each
            change of the library, as it should for a cluster's cache, and should not for a file under version control.
        pipeline: which pipeline, by name.

    Raises:
        VicurError: where the image is none, or the file cannot be written.
    """
    if image is not None:
        if not image:
            raise VicurError("names no image.", where="--image", remedy="Name one, or leave the option out.")
        validated(ClusterConfig, {"image": image}, "--image")
        os.environ["VICUR_IMAGE"] = image
    from kfp import compiler
    from vicur_pipelines.local import code_versions

    declared = PIPELINES[pipeline]
    versions = code_versions() if versioned else dict.fromkeys(STAGES, "")
    with tempfile.TemporaryDirectory() as folder, new_file(output) as partial:
        # The compiler goes by the name's ending.
        file = Path(folder) / "package.yaml"
        compiler.Compiler().compile(
            declared.package(versions, config),
            str(file),
            pipeline_parameters=declared.arguments(config) if config else None,
        )
        partial.write_text(_without_summary(file.read_text(encoding="utf-8")), encoding="utf-8")


def _without_summary(package: str) -> str:
    """The package without the comment that KFP puts first: it has the defaults in an order that is another one each time."""
    lines = package.splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), 0)
    return "".join(lines[first:])
