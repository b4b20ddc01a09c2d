"""How much room the features of images from a frozen vision tower may take."""

from __future__ import annotations

from pydantic import Field

from vicur.config.section import Section


class FeatureCacheConfig(Section):
    """Features of images from a vision tower that does not change: each image is encoded once while they fit."""

    memory_gb: float = Field(default=1.0, ge=0)
    """Memory for the features that were used last, in GB (10^9 bytes), for each tower in each process."""
    disk_gb: float = Field(default=8.0, ge=0)
    """Disk for what leaves memory, in GB, for each tower, of all processes together; 0 keeps nothing there. It lies in the
    stage's work folder, so it outlives a kill and is removed when the stage is done."""
