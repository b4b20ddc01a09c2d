"""WebDataset: tar archives in which the files of an example have one name and different endings."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

from vicur.data.exporting.base import SHARD_BYTES, Exporter, ending, fields_of, json_text, register
from vicur.data.schema import Example


@register
class WebDatasetExporter(Exporter):
    """``<split>-<number>.tar`` with ``<key>.json`` after its image, ``<key>.png``, or its images, ``<key>.00.png``, ..."""

    name = "webdataset"
    description = "tar archives with a .json after each image"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._tar: tarfile.TarFile | None = None
        self._split = ""
        self._size = 0
        self._files: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()

    def add(self, example: Example) -> None:
        if self._tar is None or self._size >= SHARD_BYTES or example.split != self._split:
            self.close()
            self._split, self._size = example.split, 0
            name = f"{example.split}-{self._files[example.split]:06d}.tar"
            self._files[example.split] += 1
            # USTAR has no times and names beyond what is set here.
            self._tar = tarfile.open(self.folder / name, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 (open for many examples)
        # Ids may contain dots and slashes, which would divide the key.
        key = f"{self._rows[example.split]:09d}"
        self._rows[example.split] += 1
        # Names are read in their order.
        digits = max(2, len(str(len(example.images) - 1)))
        for number, image in enumerate(example.images):
            place = f".{number:0{digits}d}" if len(example.images) > 1 else ""
            self._member(f"{key}{place}.{ending(image)}", image)
        self._member(f"{key}.json", json_text(fields_of(example)).encode())

    def close(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None

    def _member(self, name: str, content: bytes) -> None:
        assert self._tar is not None
        info = tarfile.TarInfo(name)
        info.size = len(content)
        info.mode = 0o644
        self._tar.addfile(info, io.BytesIO(content))
        self._size += len(content)
