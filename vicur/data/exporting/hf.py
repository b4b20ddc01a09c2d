"""A dataset of Hugging Face: parquet files by split, and a card that names them. ``datasets.load_dataset(folder)`` reads it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vicur.data.exporting.base import SHARD_BYTES, Exporter, register
from vicur.data.schema import Example
from vicur.data.shards import ShardWriter


@register
class HuggingFaceExporter(Exporter):
    """Parquet with decoded images in ``datasets``, in ``data/<split>-<number>.parquet``. ``metadata`` is JSON text."""

    name = "hf"
    description = "parquet and a card, for datasets.load_dataset"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._shard: ShardWriter | None = None
        self._split = ""
        self._files: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        (folder / "data").mkdir()

    def add(self, example: Example) -> None:
        full = self._shard is not None and self._shard.image_bytes >= SHARD_BYTES
        if self._shard is None or full or example.split != self._split:
            self._close_shard()
            self._split = example.split
            name = f"{example.split}-{self._files[example.split]:05d}.parquet"
            self._files[example.split] += 1
            self._shard = ShardWriter(self.folder / "data" / name)
        self._shard.add(example)
        self._rows[example.split] += 1

    def close(self) -> None:
        self._close_shard()
        files = "".join(f"  - split: {split}\n    path: data/{split}-*.parquet\n" for split in self._rows)
        counts = "".join(f"| {split} | {count} |\n" for split, count in self._rows.items())
        card = (
            f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n"
            "Images and questions, exported by `vicur data export`. `metadata` is JSON text.\n\n"
            f"| split | examples |\n|---|---|\n{counts}"
        )
        (self.folder / "README.md").write_text(card, encoding="utf-8", newline="\n")

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._shard.close()
            self._shard = None
