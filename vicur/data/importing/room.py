"""Room on the disk: an import that cannot fit is refused before hours of work, not by its last write."""

from __future__ import annotations

import shutil
from pathlib import Path

from vicur.errors import VicurError

# Parts differ in size, and other files are written beside them.
_MARGIN = 1.05


def require_room(folder: Path, size: int, purpose: str) -> None:
    """Raise an error if the disk of a folder has less room than ``size`` bytes, with a small margin.

    Args:
        purpose: what needs the room, such as ``the rest of the rows``.
    """
    free = shutil.disk_usage(folder).free
    needed = int(size * _MARGIN)
    if needed > free:
        raise VicurError(
            f"has {_gigabytes(free)} free, but {purpose} will take about {_gigabytes(needed)}.",
            where=str(folder),
            remedy="Free some space, or use a larger disk. What has been read so far is kept: run the same command again.",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
