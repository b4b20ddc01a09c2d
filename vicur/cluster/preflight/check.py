"""Checks, their targets and their findings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from vicur.cluster.connection import ClusterConnection
from vicur.config.preflight import GpuPool, PreflightConfig
from vicur.config.tracking import TrackingConfig

Status = Literal["ok", "warning", "failed"]
Scope = Literal["laptop", "cluster"]
"""Runs that need it: every run, or only those in a cluster."""
Place = Literal["laptop", "step"]
"""Place of a check: ``vicur doctor`` on the user's machine, or the first step of a pipeline in its pod."""


@dataclass(frozen=True)
class Finding:
    """Outcome of a check.

    Attributes:
        status: ``ok``; ``warning`` if a run works but may not do what is intended; ``failed`` if a run would fail.
        message: the outcome in a sentence.
        remedy: what to do about it; empty if nothing.
        temporary: a check that has failed may pass if it is repeated, because a server did not respond.
    """

    status: Status
    message: str
    remedy: str = ""
    temporary: bool = False


@dataclass(frozen=True)
class Target:
    """Subject of all checks: the needs of a run, the place that it is checked from, and the shared connection to the cluster.

    Attributes:
        for_cluster: the run will be in a cluster, so its steps may see other folders than this machine.
    """

    needs: PreflightConfig
    tracking: TrackingConfig
    place: Place
    for_cluster: bool = False
    connection: ClusterConnection = field(default_factory=ClusterConnection)

    @property
    def pool(self) -> GpuPool:
        """The GPU pool. Only for checks that run if the target has one."""
        if self.needs.pool is None:
            raise ValueError("this target has no GPU pool")
        return self.needs.pool


@dataclass(frozen=True)
class Check:
    """A check with its target bound. A ``VicurError`` that it raises counts as a failed finding."""

    name: str
    scope: Scope
    run: Callable[[], Finding]


@dataclass(frozen=True)
class Result:
    """A check with its finding and its duration in seconds."""

    check: Check
    finding: Finding
    seconds: float
