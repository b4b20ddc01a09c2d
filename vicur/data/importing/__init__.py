"""Import of a user's source: units are read into parts, one decision is made over the facts of all rows, and shards are written."""

from vicur.data.importing.folder_import import import_folder
from vicur.data.importing.skipped import Skipped

__all__ = ["Skipped", "import_folder"]
