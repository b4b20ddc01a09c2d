"""``examples.jsonl`` with image files: this project's own format for sources, which any program can write and read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vicur.data.exporting.base import Exporter, ending, fields_of, json_text, register
from vicur.data.schema import Example


@register
class JsonlExporter(Exporter):
    """One line an example; each distinct image is one file, named by its content."""

    name = "jsonl"
    description = "examples.jsonl and a folder of images"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._lines = (folder / "examples.jsonl").open("w", encoding="utf-8", newline="\n")
        self._written: set[bytes] = set()

    def add(self, example: Example) -> None:
        values = {**fields_of(example), "images": [self._file(image) for image in example.images]}
        self._lines.write(f"{json_text(values)}\n")

    def close(self) -> None:
        self._lines.close()

    def _file(self, image: bytes) -> str:
        digest = hashlib.sha256(image)
        # Folders of a thousand files each, for a million images.
        path = f"images/{digest.hexdigest()[:3]}/{digest.hexdigest()[:32]}.{ending(image)}"
        if digest.digest() not in self._written:
            self._written.add(digest.digest())
            place = self.folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(image)
        return path
