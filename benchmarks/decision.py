"""Memory and time of the decision over all examples of an import: repeated ids, splits, near-duplicates.

    python -m benchmarks.decision [--rows 100000 1000000] [--images 1] [--shared-out] [--near 0.02] [--json FILE]

The facts are synthetic, in parts as ``vicur data prepare`` writes them, so that a million rows take seconds and not half an hour. Each
measurement is a process of its own. ``base`` is the memory of the process before the decision, ``peak`` its largest memory with the parts,
both in MB of resident pages; ``bytes/row`` is the difference for each row. ``digest`` is that of the decision: a change of the code that
must not change the decision keeps it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.reporting import report
from vicur.config.data import FolderConfig
from vicur.data.fingerprint import FINGERPRINT_BYTES
from vicur.data.importing.decide import Decision, decide
from vicur.data.importing.facts import FACTS
from vicur.data.importing.parts import FACTS_FILE
from vicur.data.importing.stored_facts import StoredFacts
from vicur.processes.resident_memory import peak_resident_bytes, resident_bytes
from vicur.seeds import numpy_generator

_ROWS_PER_PART = 20_000
_SPLITS = np.array(["distill"] * 18 + ["validation", "test"])


def write_facts(
    folder: Path, rows: int, *, images: int = 1, shared_out: bool = False, near: float = 0.02, seed: int = 0
) -> list[Path]:
    """Write parts that contain facts only, and return their folders.

    Args:
        images: images of a row.
        shared_out: whether no row names a split.
        near: share of the rows that repeat the images of an earlier row of their part, half of them with other bytes. Of these, every
            second one asks the same question.
    """
    parts = []
    for number, first in enumerate(range(0, rows, _ROWS_PER_PART)):
        part = folder / f"part-{number:05d}"
        part.mkdir(parents=True)
        count = min(_ROWS_PER_PART, rows - first)
        rng = numpy_generator(seed, "facts", number)
        pq.write_table(_table(rng, first, count, images, shared_out, near), part / FACTS_FILE)
        parts.append(part)
    return parts


def _table(rng: np.random.Generator, first: int, count: int, images: int, shared_out: bool, near: float) -> pa.Table:
    digests = rng.integers(0, 256, (count, images, 32), dtype=np.uint8)
    prints = rng.integers(0, 256, (count, images, FINGERPRINT_BYTES), dtype=np.uint8)
    questions = rng.integers(0, 256, (count, 16), dtype=np.uint8)
    copies = np.flatnonzero(rng.random(count) < near)
    originals = rng.integers(0, np.maximum(copies, 1))
    for copy, original in zip(copies, originals, strict=True):
        prints[copy] = prints[original]
        if copy % 2:
            prints[copy, :, 3] ^= 0b101
        else:
            digests[copy] = digests[original]
        if copy % 4 < 2:
            questions[copy] = questions[original]
    flat = count * images
    image = pa.StructArray.from_arrays(
        [
            _fixed(digests, 32),
            _fixed(prints, FINGERPRINT_BYTES),
            pa.array(np.full(flat, 512, np.int32)),
            pa.array(np.full(flat, 512, np.int32)),
        ],
        fields=list(FACTS.field("images").type.value_type),
    )
    numbers = np.arange(first, first + count)
    splits = [None] * count if shared_out else _SPLITS[numbers % len(_SPLITS)].tolist()
    texts = {
        "file": ["train.parquet"] * count,
        "id": [f"row-{number:08d}" for number in numbers],
        "split": splits,
        "group": [digests[row, 0, :8].tobytes().hex() for row in range(count)],
        "kind": ["all"] * count,
        "answer": [str(number % 97) for number in numbers],
    }
    columns: dict[str, Any] = {
        **texts,
        "row": numbers + 1,
        "images": pa.ListArray.from_arrays(np.arange(0, flat + 1, images, dtype=np.int32), image),
        "notes": pa.array([[]] * count, FACTS.field("notes").type),
        "question": _fixed(questions, 16),
        "image_bytes": np.full(count, 2000 * images),
    }
    zeros = np.zeros(count, dtype=np.int32)
    return pa.table({name: columns.get(name, zeros) for name in FACTS.names}, schema=FACTS)


def _fixed(values: np.ndarray[Any, Any], size: int) -> pa.Array:
    data = np.ascontiguousarray(values).reshape(-1, size)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(data), [None, pa.py_buffer(data)])


def digest(decision: Decision) -> str:
    """Return a hash of everything that was decided."""
    found = hashlib.sha256(decision.splits_N.tobytes())
    for table in (decision.unusable, decision.left_out):
        found.update(json.dumps(table.to_pylist()).encode())
    found.update(decision.findings.model_dump_json(exclude={"notes"}).encode())
    return found.hexdigest()[:16]


def measure(folder: Path) -> dict[str, Any]:
    """Decide in this process, and return its memory and time."""
    facts = StoredFacts(sorted(folder.glob("part-*")), folder)
    config = FolderConfig(path=folder)
    facts.read(["file"])  # code and buffers that any read needs
    base = resident_bytes() / 1e6
    started = time.process_time()
    decision = decide(facts, config, 0)
    seconds = time.process_time() - started
    return {"base, MB": base, "peak, MB": peak_resident_bytes() / 1e6, "seconds": seconds, "digest": digest(decision)}


def measured(rows: int, **kind: Any) -> dict[str, Any]:
    """Write facts (:func:`write_facts`) and decide about them in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_facts(Path(folder), rows, **kind)
        command = [sys.executable, "-m", "benchmarks.decision", "--measure", folder]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()
    found: dict[str, Any] = {"rows": rows, **json.loads(lines[-1])}
    return {**found, "bytes/row": (found["peak, MB"] - found["base, MB"]) * 1e6 / rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--images", type=int, default=1, help="images of a row")
    parser.add_argument("--shared-out", action="store_true", help="rows name no split")
    parser.add_argument("--near", type=float, default=0.02, help="share of the rows with the image of another one")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    kind = {"images": arguments.images, "shared_out": arguments.shared_out, "near": arguments.near}
    report("The decision over all examples", [measured(rows, **kind) for rows in arguments.rows], arguments.json)


if __name__ == "__main__":
    main()
