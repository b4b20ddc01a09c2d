"""Merges the parts of an import into a dataset: decides over all facts, and writes the shards from the parts.

Shards are written by several processes, each kept once it is complete. A part's examples are removed when no shard needs them any more,
so that the import never takes much more room than the dataset.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vicur.config.data import SPLITS, ImportConfig
from vicur.data import dataset
from vicur.data.hygiene import FINDINGS
from vicur.data.importing.decide import OUT, decide
from vicur.data.importing.layout import PlannedShard, plan_shards
from vicur.data.importing.parts import EXAMPLES, INPUTS, counts_of
from vicur.data.importing.room import require_room
from vicur.data.importing.skipped import Skipped, all_skipped, write_skipped
from vicur.data.importing.stored_facts import StoredFacts
from vicur.data.reading import Reading
from vicur.data.schema import Manifest, Shard
from vicur.data.shards import SCHEMA, ShardWriter
from vicur.data.splitting import require_splits
from vicur.errors import VicurError
from vicur.processes.workers import Report, run_tasks
from vicur.stage.events import Events
from vicur.storage.folders import file_sha256, new_file
from vicur.wording import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BYTES_PER_PROCESS = 64 << 20  # images of the shards that each process writes, at least


def merge_parts(
    reading: Reading,
    parts: Sequence[Path],
    output: Path,
    *,
    where: str,
    work: Path,
    processes: int,
    events: Events,
    keep_parts: bool = False,
    restore: Callable[[Collection[Path]], None] | None = None,
) -> tuple[Manifest, Skipped]:
    """Write the dataset of all parts of a source, in order, to the empty folder ``output``.

    Args:
        where: the source in messages.
        work: folder for what a repeated call can reuse. The list of skipped rows stays there.
        keep_parts: whether the parts' examples stay.
        restore: reads parts again whose examples are needed, but were removed by an earlier call, which was for another decision.

    Raises:
        VicurError: if no row is usable, more rows than ``max_skipped_share`` allows are not, a required split is missing, or the
            disk is full.
    """
    config = reading.config
    facts = StoredFacts(parts, work)
    decision = decide(facts, config, reading.seed)
    listed = work / dataset.SKIPPED
    skipped = write_skipped(all_skipped(parts, facts.read(["file", "row", "id"]), decision), listed)
    counts = Counter(
        {SPLITS[code]: int(n) for code, n in enumerate(np.bincount(decision.splits_N + 1, minlength=6)[1:])}
    )
    _require_enough(skipped, counts.total(), config, where, listed)
    require_splits(
        {split: count for split, count in counts.items() if count}, config.required_splits, where, decision.units
    )
    image_bytes_N = facts.read(["image_bytes"])["image_bytes"].to_numpy()
    planned = plan_shards(decision.splits_N, image_bytes_N)
    # A process takes half a second to start. Small shards are written sooner by those that are there.
    writers = min(processes, max(1, int(image_bytes_N.sum()) // _BYTES_PER_PROCESS))
    folder, shards = _write_shards(
        planned, decision.splits_N, parts, work, writers, events, keep_parts=keep_parts, restore=restore
    )
    _place([folder / shard.file for shard in shards], output)
    if skipped.count:
        _place([listed], output)
    findings = decision.findings.model_copy(update={"notes": facts.image_notes(decision.splits_N != OUT)})
    if findings.findings or findings.notes:
        (output / FINDINGS).write_text(f"{findings.to_json()}\n", encoding="utf-8", newline="\n")
    seed = reading.seed if decision.depends_on_seed else None
    return dataset.write_manifest(output, shards, source=reading.settings, seed=seed, skipped=skipped.count), skipped


def _require_enough(skipped: Skipped, kept: int, config: ImportConfig, where: str, listed: Path) -> None:
    total = kept + skipped.count
    if total == 0:
        raise VicurError(
            "has no rows.", where=where, remedy="Write one JSON object per line, or the rows of a parquet table."
        )
    if kept and skipped.unusable <= config.max_skipped_share * total:
        return
    shown = "\n".join(f"  {row}" for row in skipped.first)
    raise VicurError(
        f"{skipped.unusable} of {total} rows cannot be used; data.max_skipped_share={config.max_skipped_share:g} allows "
        f"{percent(config.max_skipped_share)}:\n{shown}\n",
        where=where,
        remedy=f"Correct the rows (all are listed in {listed}), or raise data.max_skipped_share.",
    )


def _write_shards(
    planned: Sequence[PlannedShard],
    splits_N: NDArray[np.int8],
    parts: Sequence[Path],
    work: Path,
    processes: int,
    events: Events,
    *,
    keep_parts: bool,
    restore: Callable[[Collection[Path]], None] | None,
) -> tuple[Path, list[Shard]]:
    """Write the shards that are missing, and return their folder and what the manifest says of them."""
    # Finished shards are reused only with the same parts and the same decision.
    key = hashlib.blake2b(splits_N.tobytes(), digest_size=12)
    for part in parts:
        key.update(f"{part.name}\0".encode())
        key.update((part / INPUTS).read_bytes())
    folder = work / f"shards-{key.hexdigest()}"
    folder.mkdir(exist_ok=True)
    decided = folder / "splits.npy"
    with new_file(decided) as unfinished:
        unfinished.write_bytes(_npy(splits_N))
    # Position of the first example of each part, and of the end.
    starts = [0, *np.cumsum([counts_of(part).examples for part in parts]).tolist()]
    tasks = [_shard_task(shard, folder, decided, parts, starts) for shard in planned]
    _restore_lost(tasks, restore)
    # Shards are in the order of their splits, but parts can be removed earliest if all splits are written side by side.
    order = sorted(range(len(tasks)), key=lambda number: (planned[number].end, number))
    done = Progress(sum(shard.rows for shard in planned), events, "examples written")
    written: dict[int, Shard] = {}
    remaining = Counter(part for task in tasks for part, _ in task["parts"])
    results = run_tasks(write_shard, [tasks[number] for number in order], processes, done.report)
    for place, result in results:
        number = order[place]
        shard = planned[number]
        written[number] = Shard(file=shard.file, split=shard.split, rows=shard.rows, sha256=result["sha256"])
        done.finish(place, shard.rows)
        for part, _ in tasks[number]["parts"]:
            remaining[part] -= 1
            if remaining[part] == 0 and not keep_parts:
                (Path(part) / EXAMPLES).unlink(missing_ok=True)
    return folder, [written[number] for number in range(len(planned))]


def _restore_lost(tasks: Sequence[Mapping[str, Any]], restore: Callable[[Collection[Path]], None] | None) -> None:
    missing = [task for task in tasks if not Path(task["file"]).with_suffix(".json").is_file()]
    needed = {Path(part) for task in missing for part, _ in task["parts"]}
    lost = {part for part in needed if not (part / EXAMPLES).is_file()}
    if lost and restore is not None:
        restore(lost)


def _npy(array: NDArray[np.int8]) -> bytes:
    # np.save() would add its own ending to the name of a file.
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _shard_task(
    shard: PlannedShard, folder: Path, decided: Path, parts: Sequence[Path], starts: Sequence[int]
) -> dict[str, Any]:
    needed = [
        (str(part), start)
        for part, (start, end) in zip(parts, pairwise(starts), strict=True)
        if start < shard.end and end > shard.first
    ]
    return {
        "file": str(folder / shard.file),
        "splits": str(decided),
        "split": shard.split,
        "first": shard.first,
        "end": shard.end,
        "parts": needed,
    }


def write_shard(task: Mapping[str, Any], report: Report) -> dict[str, str]:
    """Write a shard from the parts that have its examples, unless it exists. Return its checksum."""
    path = Path(task["file"])
    record = path.with_suffix(".json")
    if record.is_file():
        result: dict[str, str] = json.loads(record.read_text(encoding="utf-8"))
        return result
    splits_N = np.load(task["splits"], mmap_mode="r", allow_pickle=False)
    with new_file(path) as unfinished:
        writer = ShardWriter(unfinished)
        for part, start in task["parts"]:
            _copy_rows(Path(part) / EXAMPLES, start, splits_N, task, writer)
            report(writer.rows)
        writer.close()
        result = {"sha256": file_sha256(unfinished)}
    with new_file(record) as unfinished:
        unfinished.write_text(json.dumps(result), encoding="utf-8")
    return result


def _copy_rows(
    file: Path, start: int, splits_N: NDArray[np.int8], task: Mapping[str, Any], writer: ShardWriter
) -> None:
    code = SPLITS.index(task["split"])
    with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        for group in range(parquet.num_row_groups):
            end = start + parquet.metadata.row_group(group).num_rows
            positions = np.arange(start, end)
            chosen = (splits_N[start:end] == code) & (positions >= task["first"]) & (positions < task["end"])
            start = end
            if not chosen.any():
                continue
            rows = parquet.read_row_group(group).filter(pa.array(chosen))
            columns = {name: rows[name] for name in SCHEMA.names}
            columns["split"] = pa.array([task["split"]] * rows.num_rows, pa.string())
            writer.extend(pa.table(columns, schema=SCHEMA))


def _place(files: Sequence[Path], folder: Path) -> None:
    """Put finished files into a folder, sharing their bytes if both are on one disk."""
    other_disk = folder.stat().st_dev != files[0].stat().st_dev if files else False
    if other_disk:
        require_room(folder, sum(file.stat().st_size for file in files), "the dataset")
    for file in files:
        # The files stay where they are: a run that is killed now finds them again.
        with suppress(OSError):
            os.link(file, folder / file.name)
            continue
        shutil.copyfile(file, folder / file.name)


class Progress:
    """Adds up the progress of tasks that run side by side."""

    def __init__(self, total: int, events: Events, text: str) -> None:
        self._total = total
        self._events = events
        self._text = text
        self._finished = 0
        self._running: dict[int, int] = {}

    def report(self, task: int, done: int) -> None:
        """Set the amount of a running task that is done."""
        self._running[task] = done
        self._emit()

    def finish(self, task: int, amount: int, text: str | None = None) -> None:
        """Add the amount of a finished task."""
        self._running.pop(task, None)
        self._finished += amount
        self._text = text or self._text
        self._emit()

    def _emit(self) -> None:
        done = min(self._total, self._finished + sum(self._running.values()))
        self._events.progress(done, self._total, self._text)
