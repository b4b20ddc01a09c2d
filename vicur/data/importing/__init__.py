"""Import of a user's source: units are read into parts, one decision is made over the facts of all rows, and shards are written."""

from vicur.data.importing.folder_import import import_folder

__all__ = ["import_folder"]
