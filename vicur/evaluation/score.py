"""Answer whole splits of a dataset with one model, as the evaluation does, into one parquet file: streaming and resumable.

The evaluation holds all predictions in memory and writes a report's inputs. Scoring holds one part at a time. Finished parts are files in a
folder next to the output, so a run that is killed continues behind the last one. Predictions equal those of ``vicur evaluate`` with the
same settings.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vicur.config.evaluation import EvaluationConfig
from vicur.data.dataset import read_manifest
from vicur.data.parquet import SETTINGS
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.evaluation.answering import answer_part, part_size
from vicur.evaluation.predictions import predictions_table
from vicur.evaluation.prompts import prompts_for
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.modeling.device import resolve_device
from vicur.modeling.readability import check_readable, context_length
from vicur.modeling.student import cue_recovery_off
from vicur.seeds import substream
from vicur.storage.folders import tree_sha256
from vicur.wording import listed

_IDENTITY = "score.json"
_CACHE_BYTES = 64 << 20


@dataclass(frozen=True)
class ScoreCounts:
    """What a run has scored."""

    rows: int
    correct: int
    unanswered: int
    resumed: int
    """Rows of an interrupted run that were kept."""


def parts_folder(output: Path) -> Path:
    """Return the folder that holds the finished parts of an interrupted run."""
    return output.with_name(f"{output.name}.parts")


def score(
    model: Path,
    dataset: Path,
    splits: Sequence[str],
    output: Path,
    config: EvaluationConfig,
    *,
    seed: int,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> ScoreCounts:
    """Write the predictions of all questions of some splits to ``output``.

    Args:
        model: checkpoint of a student or a base.
        dataset: prepared dataset.
        splits: splits to score, in this order; all of the dataset if empty.
        output: parquet file. An existing one is replaced at the end.
        config: prompts, decoding, batch size and device.
        on_progress: called with the number of scored rows, the number of all rows, and the split.

    Raises:
        VicurError: if the model or the dataset cannot be read, a split is missing, or the parts of another run are in the way.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    names = _splits(dataset, splits)
    questions = {name: StoredSplit(dataset, name, cache_bytes=_CACHE_BYTES)[: config.max_examples] for name in names}
    chat = Chat.load(model, config.prompts)
    check_readable(chat, dataset, names, model)
    limit = min(config.max_prompt_tokens, context_length(model))
    folder = _resumed(output, _identity(model, dataset, names, config, seed))
    size, total = part_size(config), sum(map(len, questions.values()))
    parts = [(name, start) for name in names for start in range(0, len(questions[name]), size)]
    loaded, done, resumed, files = None, 0, 0, []
    for name, start in parts:
        file = folder / f"{name}-{start:09}.parquet"
        files.append(file)
        rows = min(size, len(questions[name]) - start)
        if file.is_file():
            resumed += rows
        else:
            loaded = loaded or load_model(model, device=resolve_device(config.device, "evaluation.device"))
            some = list(questions[name][start : start + size])
            with nullcontext() if config.cue_recovery else cue_recovery_off(loaded):
                predictions = answer_part(
                    loaded,
                    chat,
                    some,
                    prompts_for(chat, some),
                    config,
                    limit,
                    split=name,
                    seed=substream(seed, "evaluation", name, start),
                    on_progress=None
                    if on_progress is None
                    else lambda n, _, before=done, name=name: on_progress(before + n, total, name),  # type: ignore[misc]
                )
            _write([predictions_table(predictions)], file)
        done += rows
        if on_progress is not None:
            on_progress(done, total, name)
    correct, unanswered = _joined(files, output)
    shutil.rmtree(folder)
    return ScoreCounts(total, correct, unanswered, resumed)


def _splits(dataset: Path, asked: Sequence[str]) -> list[str]:
    available = [name for name, rows in read_manifest(dataset).examples.items() if rows]
    if missing := [name for name in asked if name not in available]:
        raise VicurError(
            f"has no split {missing[0]!r}.",
            where=str(dataset),
            remedy=f"Choose from {listed(available, shown=len(available))}.",
        )
    return [*dict.fromkeys(asked)] or available


def _identity(model: Path, dataset: Path, names: Sequence[str], config: EvaluationConfig, seed: int) -> dict[str, Any]:
    """Return what the predictions depend on."""
    settings = config.model_dump(mode="json", include={"decoding", "rollout_tokens", "max_examples", "batch_size"})
    manifest = hashlib.sha256((dataset / "manifest.json").read_bytes()).hexdigest()
    return {
        "model": tree_sha256(model),
        "dataset": manifest,
        "splits": [*names],
        "prompts": config.prompts.model_dump(mode="json"),
        "seed": seed,
        "max_prompt_tokens": config.max_prompt_tokens,
        "cue_recovery": config.cue_recovery,
        **settings,
    }


def _resumed(output: Path, identity: dict[str, Any]) -> Path:
    """Return the folder of parts, which is that of an interrupted run with the same inputs and settings, or new."""
    folder = parts_folder(output)
    record = folder / _IDENTITY
    try:
        if not folder.exists():
            output.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
            record.write_text(json.dumps(identity, indent=1), encoding="utf-8")
        elif (found := json.loads(record.read_text(encoding="utf-8"))) != identity:
            differs = [name for name in identity if not isinstance(found, dict) or found.get(name) != identity[name]]
            raise VicurError(
                f"contains parts of a run with another {listed(differs, shown=3)}.",
                where=str(folder),
                remedy="Delete the folder, or name another output.",
            )
    except (OSError, ValueError) as error:
        raise VicurError(
            f"the parts of the run cannot be kept there ({error}).",
            where=str(folder),
            remedy="Delete the folder, or name another output in a folder that this user can write to.",
        ) from error
    return folder


def _write(tables: Any, path: Path) -> None:
    """Write tables of one schema to a file, which is complete once it has its name."""
    import pyarrow.parquet as pq

    partial = path.with_name(f".{path.name}.partial")
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(partial, table.schema, **SETTINGS)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    partial.replace(path)


def _joined(files: Sequence[Path], output: Path) -> tuple[int, int]:
    """Write the parts to the output, one at a time. Returns the correct and the unanswered rows."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    counts = [0, 0]

    def tables() -> Any:
        for file in files:
            table = pq.read_table(file)
            counts[0] += pc.sum(table["correct"]).as_py() or 0
            counts[1] += len(table) - table["unanswered"].null_count
            yield table

    _write(tables(), output)
    return counts[0], counts[1]
