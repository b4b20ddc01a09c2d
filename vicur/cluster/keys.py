"""Cache keys of the steps of a run, for the cache of Kubeflow Pipelines."""

# KFP identifies a step by its component, image, command and parameters, and does not look at what a parameter refers to: a folder of
# weights that was replaced, or another dataset at the same address. So each step gets a key that covers the content of its inputs.
# Keys are chained from step to step: new cues change the key of the student that is trained with them.

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vicur.config.cells import Cell
from vicur.config.data import SourceConfig
from vicur.config.model_address import model_address
from vicur.config.section import Section
from vicur.data.sources import source_of
from vicur.stage.table import PipelineConfig, PipelineStep, steps_of
from vicur.storage.folders import folder_listing


def cache_keys(config: PipelineConfig, code_versions: Mapping[str, str]) -> dict[str, str]:
    """Return the cache key of each step by the step's label, given the code version of each stage."""
    steps, cells = steps_of(config), config.cells()
    keys: dict[str, str] = {}

    def add(step: PipelineStep, cell: Cell | None) -> None:
        section = getattr(config if cell is None else cell, step.section)
        # A run without benchmarks has no steps for them.
        inputs = [keys[label] for name in step.after if name in named for label in _labels(named[name], cell, cells)]
        seed = config.seed if cell is None else cell.seed
        keys[step.label(cell)] = _key(section.identity(), _content(section), code_versions[step.stage], seed, inputs)

    named = {step.name: step for step in steps}
    for step in steps:
        for cell in cells if step.cell_name else [None]:
            add(step, cell)
    return keys


def _labels(step: PipelineStep, cell: Cell | None, cells: list[Cell]) -> list[str]:
    # A step within a cell reads that cell's artifacts. A step after the loop collects those of all cells.
    if not step.cell_name:
        return [step.label()]
    return [step.label(each) for each in (cells if cell is None else [cell])]


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _content(section: Section) -> Any:
    """Return a value that changes with the files behind an unchanged section."""
    if isinstance(section, SourceConfig):
        return source_of(section).cache_token(section)
    # An address names its content, and its folder may not exist yet.
    named = {name for name, path in section.model_paths().items() if model_address(path) is not None}
    # Many gigabytes of weights take too long to hash.
    return [folder_listing(folder) for name, folder in section.inputs().items() if name not in named]
