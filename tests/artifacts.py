"""Artifacts of pipeline steps without kfp."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class FileArtifact:
    """An artifact at a path of this machine."""

    path: str
    metadata: dict[str, Any] = field(default_factory=dict)
    uri: str = ""


@dataclass
class LoggedMetrics:
    """A metrics artifact."""

    values: dict[str, float] = field(default_factory=dict)

    def log_metric(self, metric: str, value: float) -> None:
        self.values[metric] = value


def artifacts(paths: dict[str, Path]) -> dict[str, FileArtifact]:
    return {name: FileArtifact(str(path)) for name, path in paths.items()}
