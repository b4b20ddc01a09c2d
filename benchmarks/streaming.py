"""Start and steps of a training on photos: examples that are read as a stream, and a training that prepares all of them first.

    python -m benchmarks.streaming [--photos 192] [--steps 24] [--batch-size 16] [--rounds 2] [--json FILE]

The dataset has synthetic JPEG photos of 1024 x 768 pixels (about 160 KB each). A tiny student learns by ``opsd-cue``. Every row is a
process of its own, and the rows take turns:

- ``all first``: reads all examples and decodes every image before step 1, as earlier versions did, and decodes again what its cache of
  1 GB has not kept
- ``stream, 0 threads`` and ``stream, 2 threads``: ``training.image_threads``

``start`` is the time to the first step without loading the model, ``first`` the mean time of a step in the first epoch, in which a stream
decodes the images, and ``later`` that of a step after it, when their patches are in the cache. ``total`` is the time from the start to the
end of the last step. ``peak`` is the largest resident memory, including files that are mapped. Times are of the clock, because threads are
the subject; ``cpu`` is the processor time of the process up to the end of the last step. The shortest of the rounds is reported.

    python -m benchmarks.streaming --rows 250000 1000000

measures instead the memory and the time of the pass that selects usable examples, with small images.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.reporting import report
from vicur.config.base import BaseModelConfig
from vicur.config.training import TrainConfig
from vicur.data import Example, read_examples
from vicur.data.dataset import DatasetWriter
from vicur.data.stored import StoredSplit
from vicur.modeling.ahead import DecodeAhead
from vicur.modeling.chat import Chat
from vicur.processes.resident_memory import peak_resident_bytes
from vicur.seeds import numpy_generator
from vicur.training.batches import Batches
from vicur.training.examples import TrainingExample, TrainingExamples
from vicur.training.order import BatchOrder
from vicur.training.selection import select, training_examples
from vicur.training.state import TrainState, build_state
from vicur.training.step import training_step
from vicur.training.world import World

MODES = ("all first", "stream, 0 threads", "stream, 2 threads")
_SIZE = (1024, 768)
_QUESTION = "What is the sum of the digits in the left column?"


def photo(number: int) -> bytes:
    """Return a JPEG photo of smooth areas with some noise."""
    generator = numpy_generator(0, "benchmark", number)
    coarse = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize(_SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = np.clip(pixels + generator.integers(-6, 7, pixels.shape), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def small_image(number: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (96, 64), (number % 256, number // 256 % 256, 90)).save(stream, "PNG")
    return stream.getvalue()


def write_dataset(folder: Path, count: int, *, photos: bool) -> None:
    writer = DatasetWriter(folder)
    for number in range(count):
        image = photo(number) if photos else small_image(number)
        writer.add(
            Example(
                id=f"row-{number}", images=(image,), question=_QUESTION, answer="7", source="benchmark", split="distill"
            )
        )
    writer.finish({"type": "folder"}, None, 0)


def measure(mode: str, folder: Path, photos: int, steps: int, batch_size: int) -> dict[str, Any]:
    """Train in this process and return times and memory."""
    torch.set_num_threads(1)
    base = BaseModelConfig().folder
    config = TrainConfig.model_validate(
        {
            "method": "opsd-cue",
            "batch_size": batch_size,
            "rollout": {"max_new_tokens": 16},
            "features": {"disk_gb": 0},
            "image_threads": 2 if mode.endswith("2 threads") else 0,
        }
    )
    chat = Chat.load(base)
    world = World.single("cpu")
    with tempfile.TemporaryDirectory() as work:
        state = build_state(config, {"base": base}, chat, 0, world, Path(work))
        begun, used = time.perf_counter(), time.process_time()
        with _batches(mode, folder, state, steps, Path(work)) as batches:
            seconds = []
            for step in range(steps):
                rows = batches.of(step)
                if step == 0:
                    start = time.perf_counter() - begun
                training_step(state, rows, step)
                seconds.append(time.perf_counter() - begun)
        cpu = time.process_time() - used
    each = np.diff([start, *seconds])
    # The first step also allocates the optimizer's state.
    epoch = min(steps, photos // batch_size)
    return {
        "start": start,
        "first": float(each[1:epoch].mean()),
        "later": float(each[epoch:].mean()) if steps > epoch else math.nan,
        "total": seconds[-1],
        "cpu": cpu,
        "peak": peak_resident_bytes() / 1e6,
    }


class _AllFirst:
    """Batches of examples that are all in memory, with images that were decoded once before."""

    def __init__(self, folder: Path, state: TrainState) -> None:
        pool = read_examples(folder, "distill")
        examples, _ = training_examples(pool, {e.id: "the digits are 3 4" for e in pool}, state.chat, state.config)
        self._rows = list(examples)
        for row in self._rows:
            for image in row.student.pixels:
                image.patches()
        self._order = BatchOrder(examples.groups, state.config.batch_size, state.seed)

    def of(self, step: int) -> list[TrainingExample]:
        return [self._rows[number] for number in self._order.rows(step)]


@contextmanager
def _batches(mode: str, folder: Path, state: TrainState, steps: int, work: Path) -> Iterator[_AllFirst | Batches]:
    if mode == "all first":
        yield _AllFirst(folder, state)
        return
    config, chat, world = state.config, state.chat, state.world
    pool = StoredSplit(folder, "distill")
    cues = {f"row-{number}": "the digits are 3 4" for number in range(len(pool))}
    found = select(pool, cues, chat, config, world=world, file=work / "usable.npz", identity={})
    with DecodeAhead(chat, config.image_threads) as ahead:
        examples = TrainingExamples(pool, found.usable, cues, chat, config, ahead)
        order = BatchOrder(examples.groups, config.batch_size, state.seed)
        with Batches(examples, order, world, steps, state.vision.has) as batches:
            yield batches


def measure_pass(folder: Path) -> dict[str, Any]:
    """Select the usable examples in this process, then read some batches."""
    torch.set_num_threads(1)
    chat, config = Chat.load(BaseModelConfig().folder), TrainConfig(method="opsd-cue")
    before = peak_resident_bytes()
    pool = StoredSplit(folder, "distill")
    cues = {f"row-{number}": "the digits are 3 4" for number in range(len(pool))}
    with_cues = peak_resident_bytes()
    begun = time.perf_counter()
    found = select(pool, cues, chat, config, world=World.single("cpu"), file=folder / "usable.npz", identity={})
    seconds = time.perf_counter() - begun
    again = time.perf_counter()
    select(pool, cues, chat, config, world=World.single("cpu"), file=folder / "usable.npz", identity={})
    resumed = time.perf_counter() - again
    examples = TrainingExamples(pool, found.usable, cues, chat, config)
    order = BatchOrder(examples.groups, 32, 0)
    begun = time.perf_counter()
    for step in range(100):
        for number in order.rows(step):
            examples[number]
    batch = (time.perf_counter() - begun) / 100
    after = peak_resident_bytes()
    return {
        "pass, s": seconds,
        "after a restart, s": resumed,
        "batch of 32, s": batch,
        "cues, MB": (with_cues - before) / 1e6,
        "all else, MB": (after - with_cues) / 1e6,
    }


def _in_process(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.streaming", *arguments]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=192)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--rows", type=int, nargs="*", default=[], help="measure the selection of this many rows instead"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=2, metavar=("MODE", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        mode, folder = arguments.measure[0], Path(arguments.measure[1])
        found = (
            measure_pass(folder)
            if mode == "pass"
            else measure(mode, folder, arguments.photos, arguments.steps, arguments.batch_size)
        )
        sys.stdout.write(json.dumps(found))
        return
    rows: list[dict[str, Any]] = []
    for count in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(Path(folder), count, photos=False)
            rows.append({"rows": count, **_in_process("--measure", "pass", folder)})
    if rows:
        report("Selecting usable examples", rows, arguments.json)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder), arguments.photos, photos=True)
        sizes = [
            "--photos",
            str(arguments.photos),
            "--steps",
            str(arguments.steps),
            "--batch-size",
            str(arguments.batch_size),
        ]
        rounds = [
            {mode: _in_process("--measure", mode, folder, *sizes) for mode in MODES} for _ in range(arguments.rounds)
        ]
    best = {mode: {key: min(each[mode][key] for each in rounds) for key in rounds[0][mode]} for mode in MODES}
    for mode, found in best.items():
        times = {f"{name}, s": found[name] for name in ("start", "first", "later", "total", "cpu")}
        rows.append({"mode": mode, **times, "peak, MB": found["peak"]})
    report(f"{arguments.photos} photos, batches of {arguments.batch_size}", rows, arguments.json)


if __name__ == "__main__":
    main()
