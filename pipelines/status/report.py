"""What ``vicur status`` reports: one part per source, each with its rows or the reason why it is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vicur.errors import VicurError


@dataclass(frozen=True)
class RunRow:
    """A run in Kubeflow Pipelines."""

    run_id: str
    name: str
    state: str  # as vicur submit says it: CANCELED for a terminated run
    created: str  # in UTC
    seconds: float | None  # duration so far, or in total
    steps: tuple[str, ...] = ()  # steps that are running
    schedule: bool = False  # whether a schedule started it
    mlflow: str = ""  # status in MLflow, if that is known
    address: str = ""


@dataclass(frozen=True)
class QueueRow:
    """A LocalQueue of Kueue with the quota of its ClusterQueue."""

    name: str
    cluster_queue: str
    pending: int
    admitted: int
    usage: tuple[str, ...] = ()  # such as "nvidia.com/gpu 4 of 8"; empty if the ClusterQueue cannot be read


@dataclass(frozen=True)
class BlockedRow:
    """Something that waits, and for what."""

    kind: str  # Pod, TrainJob or Workload
    name: str
    reason: str
    run_id: str = ""
    task: str = ""


@dataclass(frozen=True)
class ModelRow:
    """A registered model with its aliased versions."""

    name: str
    champion: str = ""
    candidate: str = ""
    gate: str = ""  # the gate's decision on the champion
    since: str = ""  # when the champion's version was created, in UTC


@dataclass(frozen=True)
class Part:
    """Rows of one source, or the reason why there are none."""

    rows: Sequence[Any] = ()
    problem: str = ""


@dataclass
class Report:
    """All parts of the status."""

    endpoint: str
    namespace: str
    parts: dict[str, Part] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the report as JSON. A part that is not available is null, with its reason under ``unavailable``."""
        rows = {name: None if part.problem else [asdict(row) for row in part.rows] for name, part in self.parts.items()}
        problems = {name: part.problem for name, part in self.parts.items() if part.problem}
        return {"endpoint": self.endpoint, "namespace": self.namespace, **rows, "unavailable": problems}


def part_of(read: Callable[[], Sequence[Any]]) -> Part:
    """Read a part. An unreachable source is part of the report, not an error."""
    try:
        return Part(read())
    except VicurError as error:
        where = f"{error.where}: " if error.where else ""
        return Part(problem=f"{where}{error.problem} {error.remedy}")
