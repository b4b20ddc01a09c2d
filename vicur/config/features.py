"""Size of the cache for image features from frozen vision towers."""

from __future__ import annotations

from pydantic import Field

from vicur.config.section import Section


class FeatureCacheConfig(Section):
    """Cache for the image features of vision towers that are not trained. Each image is encoded once while its features fit."""

    memory_gb: float = Field(default=1.0, ge=0)
    """Memory for the most recently used features in GB (10^9 bytes), per tower and process."""
    disk_gb: float = Field(default=8.0, ge=0)
    """Disk space for features evicted from memory in GB, per tower and for all processes together; 0 disables it. The files are in the
    stage's work folder: they survive a kill and are removed when the stage is done."""
