"""Files that rows name: only regular files below one folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vicur.data.paths import locate, open_regular
from vicur.errors import VicurError

LONGEST_NAME = 4096
"""Longest text that is looked for as a file. The base64 text of an image is longer than any path."""


class FileRefusedError(ValueError):
    """A file that must not or cannot be read. The message contains no path of this machine."""


@dataclass(frozen=True)
class Files:
    """Access to files for the rows of one caller.

    Args:
        folder: folder that texts name files in; ``None`` opens no file for a text.
        path_objects: whether an ``os.PathLike`` opens any file. Only code can create one, no request.
    """

    folder: Path | None = None
    path_objects: bool = False

    def find(self, name: str) -> Path | None:
        """Return the file below the folder that a text names, or ``None`` if there is none: also if the name leads out of the folder.

        A caller thus cannot learn whether a file exists elsewhere. The base64 text of a JPEG begins like an absolute path.
        """
        if self.folder is None or not name or "\0" in name:
            return None
        folder = Path(os.path.realpath(self.folder))
        try:
            if not Path(name).is_absolute():
                path = locate(folder, name)
            else:
                path = Path(os.path.realpath(name))
                if not path.is_relative_to(folder):
                    return None
            return path if os.path.lexists(path) else None
        except (VicurError, OSError, ValueError):
            return None

    def read(self, path: Path, max_bytes: int) -> bytes:
        """Return the content of a regular file.

        Raises:
            FileRefusedError: if it is larger than ``max_bytes``, cannot be read, or is not a regular file: a pipe would block forever.
        """
        try:
            with open_regular(path) as file:
                data = file.read(max_bytes + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise FileRefusedError(f"cannot be read ({reason})") from error
        if len(data) > max_bytes:
            raise FileRefusedError(f"has more than {max_bytes:,} bytes (max_image_bytes)")
        return data
