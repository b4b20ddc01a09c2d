"""Stored results of stages: ``<cache>/<stage>/<key>/`` holds ``output/`` and ``entry.json`` (the summary and the output's hash)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from vicur.errors import VicurError
from vicur.storage.folders import link_or_copy, new_folder, tree_sha256

log = logging.getLogger(__name__)

S = TypeVar("S", bound=BaseModel)


class _Record(BaseModel):
    """Content of ``entry.json``."""

    summary: dict[str, Any]
    output_sha256: str


def store(summary: BaseModel, output: Path, entry: Path) -> None:
    """Store a stage's output and summary as the cache entry ``entry``."""
    # Hard links: a student of several GB is stored once, for the cache and for the run.
    with new_folder(entry) as partial:
        link_or_copy(output, partial / "output")
        record = _Record(summary=summary.model_dump(mode="json"), output_sha256=tree_sha256(partial / "output"))
        (partial / "entry.json").write_text(record.model_dump_json(indent=1), encoding="utf-8")


def restore(entry: Path, summary_type: type[S], output: Path) -> S | None:
    """Place a stored output at ``output`` and return its summary, or return ``None`` if the entry is missing or damaged."""
    try:
        record = _Record.model_validate_json((entry / "entry.json").read_text(encoding="utf-8"))
        summary = summary_type.model_validate(record.summary)
        intact = tree_sha256(entry / "output") == record.output_sha256
    except FileNotFoundError:
        return None
    except (ValueError, VicurError) as error:
        log.warning("Ignoring the cache entry %s, which cannot be read (%s). The stage runs again.", entry, error)
        return None
    if not intact:
        # The entry's files are hard links to the outputs of runs, so an output that is edited in place changes the entry too.
        log.warning(
            "Ignoring the cache entry %s, which was modified after it was written. The stage runs again.", entry
        )
        return None
    link_or_copy(entry / "output", output)
    return summary
