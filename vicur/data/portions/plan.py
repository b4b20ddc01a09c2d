"""Divides a source into portions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from vicur.config.data import ImportConfig, SourceConfig
from vicur.config.portions import DataPlanConfig, DataPortionConfig
from vicur.data.dataset import MANIFEST
from vicur.data.portions.content import Contents, row_settings
from vicur.data.reading import Reading
from vicur.data.sources import source_of
from vicur.stage.portions import PORTIONS, Automatic, digest, divided
from vicur.stage.runner import Context, Stage, Summary

# A pod takes about 30 s to start and to fetch little, in which one that runs reads some ten thousand rows.
AUTOMATIC = Automatic(rows=100_000, most=4)


class PlanSummary(Summary):
    """Summary of a division."""

    portions: int


def plan_portions(config: DataPlanConfig, inputs: Mapping[str, Path], output: Path, context: Context) -> PlanSummary:  # noqa: ARG001
    """Write the settings of each portion of a source to ``portions.json``, which is all that another machine needs to read it.

    Raises:
        VicurError: if the source cannot be fetched, or has no format.
    """
    portions, rows = _portions(config.data, config.count, context)
    (output / PORTIONS).write_text(json.dumps([each.model_dump(mode="json") for each in portions]), encoding="utf-8")
    count = f"{len(portions)} portion{'' if len(portions) == 1 else 's'}"
    figure = f"{count} of {rows:,} rows" if rows else f"{count}: the source cannot be divided"
    return PlanSummary(key_figure=figure, portions=len(portions))


def _portions(data: SourceConfig, count: int, context: Context) -> tuple[list[DataPortionConfig], int]:
    source = source_of(data)
    inputs = source.inputs(data)
    states = source.states(data, inputs)
    # A prepared dataset is taken as it is, except from a folder.
    if not isinstance(data, ImportConfig) or not states or (MANIFEST in states and data.type != "folder"):
        return [DataPortionConfig(data=data.source(), last=True, content=digest(states))], 0
    folder = source.folder(data, inputs, context.work, context.events)
    reading = Reading.of(folder, data, context.seed)
    units = reading.units()
    reading = reading.with_answer_index(units)
    contents, rows = Contents(units, states), [unit.rows for unit in units]
    portions = [
        DataPortionConfig(
            data=row_settings(reading.config),
            format=reading.format_name,
            first=each.first,
            end=each.end,
            last=each.last,
            content=contents.of(each.first, each.end),
        )
        for each in divided(rows, count, AUTOMATIC)
    ]
    return portions, sum(rows)


PLAN = Stage("prepare", plan_portions, PlanSummary, reusable=False)
