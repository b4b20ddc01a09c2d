"""Folders that only the steps of a run in a cluster may have mounted."""

from __future__ import annotations

from pathlib import Path

from vicur.cluster.preflight.check import Finding, Target


def unless_mounted_in_steps(target: Target, folder: str, finding: Finding) -> Finding:
    """Replace a failed finding about a folder by a warning if the run's steps may have the folder on a volume."""
    elsewhere = target.place == "laptop" and target.for_cluster
    if not elsewhere or finding.status != "failed" or not folder.startswith("/") or Path(folder).exists():
        return finding
    return Finding(
        "warning",
        f"{folder} does not exist on this machine, and it cannot be checked from here whether the steps have it mounted",
        f"The run's first step checks it. {finding.remedy}",
    )
