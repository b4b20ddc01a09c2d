"""Checks that the configured dataset exists. Nothing is fetched, except for the listing of a DVC hash."""

from __future__ import annotations

from vicur.cluster.preflight.finding import Finding
from vicur.config.data import SourceConfig
from vicur.data.sources import source_of
from vicur.errors import VicurError


def dataset(data: SourceConfig) -> Finding:
    """Check a dataset as its source does (:mod:`vicur.data.sources`)."""
    try:
        return Finding("ok", source_of(data).check(data))
    except VicurError as error:
        where = f"{error.where}: " if error.where else ""
        return Finding("failed", f"{where}{error.problem}", error.remedy)
