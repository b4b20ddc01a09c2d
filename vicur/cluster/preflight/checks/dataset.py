"""The dataset: present at the configured place, as its source checks it (:mod:`vicur.data.sources`). Nothing is downloaded."""

from __future__ import annotations

from vicur.cluster.preflight.check import Finding, Target
from vicur.cluster.preflight.elsewhere import unless_in_a_store_of_the_cluster, unless_mounted_in_steps
from vicur.cluster.preflight.registry import check
from vicur.config.data import SourceConfig
from vicur.data.sources import source_of
from vicur.errors import VicurError


def _datasets(target: Target) -> list[SourceConfig]:
    return [] if target.needs.dataset is None else [target.needs.dataset]


@check("dataset", topic="inputs", scope="laptop", each=_datasets)
def _dataset(target: Target, data: SourceConfig) -> Finding:
    folder = next(iter(data.inputs().values()), "")
    addresses = (str(each) for each in data.model_dump().values())
    address = next((each for each in addresses if each.startswith("s3://")), "")
    return unless_in_a_store_of_the_cluster(
        target, address, lambda: unless_mounted_in_steps(target, str(folder), dataset(data))
    )


def dataset(data: SourceConfig) -> Finding:
    """Check that a dataset exists."""
    try:
        return Finding("ok", source_of(data).check(data))
    except VicurError as error:
        # Converted here and not by the runner, so that a folder on a volume of the steps can turn it into a warning.
        where = f"{error.where}: " if error.where else ""
        return Finding("failed", f"{where}{error.problem}", error.remedy)
