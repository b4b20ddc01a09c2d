"""The columns of verl's datasets, which the published code of on-policy distillation reads.

| column | content |
|---|---|
| ``data_source`` | the example's ``source``, by which verl chooses a reward function |
| ``prompt`` | one user message, with ``<image>`` at each image, and the choices as this project shows them |
| ``images`` | encoded images, in the order of the prompt |
| ``ability`` | the kind of question |
| ``reward_model`` | ``style: rule`` and the answer as ``ground_truth`` |
| ``extra_info`` | ``split``, ``index``, ``id``, ``question``, ``answer``, ``cue``, ``rationale`` and ``example`` |

``extra_info.example`` has all fields as JSON text, for a lossless way back; its ``images`` are places in the column ``images``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vicur.data.exporting.base import SHARD_BYTES, Exporter, fields_of, json_text, register
from vicur.data.parquet import SETTINGS
from vicur.data.schema import Example
from vicur.data.shards import ROWS_PER_GROUP
from vicur.errors import VicurError
from vicur.prompts import ImagePart, content_of

IMAGE_MARKER = "<image>"
_TEXT = pa.string()
SCHEMA = pa.schema(
    [
        pa.field("data_source", _TEXT),
        pa.field("prompt", pa.list_(pa.struct([("role", _TEXT), ("content", _TEXT)]))),
        pa.field("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", _TEXT)]))),
        pa.field("ability", _TEXT),
        pa.field("reward_model", pa.struct([("style", _TEXT), ("ground_truth", _TEXT)])),
        pa.field(
            "extra_info",
            pa.struct(
                [
                    ("split", _TEXT),
                    ("index", pa.int64()),
                    ("id", _TEXT),
                    ("question", _TEXT),
                    ("answer", _TEXT),
                    ("cue", _TEXT),
                    ("rationale", _TEXT),
                    ("example", _TEXT),
                ]
            ),
        ),
    ]
)


@register
class VerlExporter(Exporter):
    """``<split>-<number>.parquet`` with verl's columns."""

    name = "verl"
    description = "parquet with verl's columns, for RL and distillation code built on verl"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._writer: pq.ParquetWriter | None = None
        self._pending: list[dict[str, Any]] = []
        self._split = ""
        self._size = 0
        self._files: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()

    def add(self, example: Example) -> None:
        if self._writer is None or self._size >= SHARD_BYTES or example.split != self._split:
            self.close()
            self._split, self._size = example.split, 0
            name = f"{example.split}-{self._files[example.split]:05d}.parquet"
            self._files[example.split] += 1
            self._writer = pq.ParquetWriter(self.folder / name, SCHEMA, write_batch_size=ROWS_PER_GROUP, **SETTINGS)
        self._pending.append(_row(example, self._rows[example.split]))
        self._rows[example.split] += 1
        self._size += sum(map(len, example.images))
        if len(self._pending) == ROWS_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        if self._writer is not None:
            self._write_group()
            self._writer.close()
            self._writer = None

    def _write_group(self) -> None:
        assert self._writer is not None
        if self._pending:
            table = pa.Table.from_pylist(self._pending, schema=SCHEMA)
            self._writer.write_table(table, row_group_size=ROWS_PER_GROUP)
            self._pending = []


def _row(example: Example, index: int) -> dict[str, Any]:
    if example.video is not None:
        raise VicurError(
            "this example is about a video, whose frames verl's columns cannot hold.",
            where=f"example {example.id}",
            remedy="Export to hf, webdataset or jsonl.",
        )
    content = content_of(example.question, example.choices, len(example.images))
    # Numbered markers may show the images in another order.
    shown = [part.index for part in content if isinstance(part, ImagePart)]
    text = "".join(IMAGE_MARKER if isinstance(part, ImagePart) else str(part) for part in content)
    fields = {**fields_of(example), "images": [shown.index(number) for number in range(len(example.images))]}
    return {
        "data_source": example.source,
        "prompt": [{"role": "user", "content": text}],
        "images": [{"bytes": example.images[number], "path": None} for number in shown],
        "ability": example.kind,
        "reward_model": {"style": "rule", "ground_truth": example.answer},
        "extra_info": {
            "split": example.split,
            "index": index,
            "id": example.id,
            "question": example.question,
            "answer": example.answer,
            "cue": example.cue,
            "rationale": example.rationale,
            "example": json_text(fields),
        },
    }
