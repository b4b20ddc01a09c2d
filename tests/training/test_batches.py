"""Batches that are read and decoded ahead, and the pass that selects the usable examples."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.factory import scenes
from vicur.config.training import TrainConfig
from vicur.data.dataset import DatasetWriter
from vicur.data.stored import StoredSplit
from vicur.errors import VicurError
from vicur.modeling.ahead import DecodeAhead
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_image_processor, tiny_tokenizer
from vicur.training import selection as selection_module
from vicur.training.batches import Batches
from vicur.training.examples import TrainingExamples
from vicur.training.order import BatchOrder, Buffer
from vicur.training.selection import Selection, select, training_examples
from vicur.training.world import World

CONFIG = TrainConfig(method="opsd-cue", max_unhinted_share=0.5)
ROWS = 60


class Rank(World):
    """One of several ranks, without the others."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(torch.device("cpu"), torch.device("cpu"), rank, size)

    def broadcast(self, value: object) -> object:  # type: ignore[override]
        return value

    def gather(self, value: object) -> list[object]:  # type: ignore[override]
        return [value]


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(
        tiny_tokenizer(sorted({w for e in scenes("distill") for w in e.question.split()})), tiny_image_processor()
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 examples in row groups of 7; every fifth has no cue, the seventh no image."""
    folder = tmp_path_factory.mktemp("stream")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vicur.data.shards.ROWS_PER_GROUP", 7)
        writer = DatasetWriter(folder)
        pool = scenes("distill")
        for number in range(ROWS):
            example = pool[number % len(pool)].model_copy(update={"id": f"e{number}"})
            writer.add(example.model_copy(update={"images": ()}) if number == 7 else example)
        writer.finish({"type": "folder"}, None, 0)
    return folder


CUES = {f"e{number}": f"cue {number}" for number in range(ROWS) if number % 5}


@pytest.fixture
def pool(dataset: Path) -> StoredSplit:
    return StoredSplit(dataset, "distill")


def _select(pool: StoredSplit, chat: Chat, folder: Path, world: World | None = None, **identity: object) -> Selection:
    return select(
        pool, CUES, chat, CONFIG, world=world or World.single("cpu"), file=folder / "usable.npz", identity=identity
    )


def test_the_selection_is_that_of_all_examples_at_once(pool: StoredSplit, chat: Chat, tmp_path: Path) -> None:
    found = _select(pool, chat, tmp_path)
    usable, skipped = training_examples(list(pool), CUES, chat, CONFIG)
    assert found.usable.tolist() == [n for n in range(ROWS) if n % 5]
    assert found.skipped == skipped == {f"e{n}": "has no cue for the hint" for n in range(0, ROWS, 5)}
    assert list(found.skipped) == list(skipped), "listed in the order of the dataset"
    assert found.without_images == ["e7"]
    assert len(usable) == len(found.usable)


def test_the_processes_share_the_pass(
    pool: StoredSplit, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = []
    merged = selection_module._merged
    monkeypatch.setattr(selection_module, "_merged", lambda found: (parts.extend(found), merged(found))[1])
    for rank in range(3):
        _select(pool, chat, tmp_path / str(rank), Rank(rank, 3))
    assert [len(part.usable) + len(part.skipped) for part in parts] == [21, 21, 18]
    together, alone = merged(parts), _select(pool, chat, tmp_path)
    assert np.array_equal(together.usable, alone.usable)
    assert (list(together.skipped.items()), together.without_images) == (list(alone.skipped.items()), ["e7"])


def test_a_resumed_training_does_not_repeat_the_pass(
    pool: StoredSplit, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _select(pool, chat, tmp_path, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(selection_module, "training_example", lambda *_: pytest.fail("examined again"))
        again = _select(pool, chat, tmp_path, seed=1)
    assert np.array_equal(first.usable, again.usable)
    assert list(first.skipped.items()) == list(again.skipped.items())
    assert again.without_images == ["e7"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x04K\x01."])
def test_a_selection_of_other_work_or_a_damaged_one_is_made_again(
    content: bytes, pool: StoredSplit, chat: Chat, tmp_path: Path
) -> None:
    expected = _select(pool, chat, tmp_path, seed=1)
    (tmp_path / "usable.npz").write_bytes(content)
    assert np.array_equal(_select(pool, chat, tmp_path, seed=1).usable, expected.usable)
    np.savez(tmp_path / "usable.npz", key="another", usable=np.arange(3), texts="{}")
    assert np.array_equal(_select(pool, chat, tmp_path, seed=1).usable, expected.usable)


def test_too_many_skipped_rows_are_an_error_again_after_a_restart(
    pool: StoredSplit, chat: Chat, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(VicurError, match=r"12 of 60 distillation examples cannot be used \(e0 has no cue for the"):
            select(
                pool,
                CUES,
                chat,
                CONFIG.model_copy(update={"max_unhinted_share": 0.1}),
                world=World.single("cpu"),
                file=tmp_path / "usable.npz",
                identity={},
            )


def _batches(
    pool: StoredSplit, chat: Chat, ahead: DecodeAhead | None, world: World, steps: int, in_use: int = 0
) -> Batches:
    usable = np.array([n for n in range(ROWS) if n % 5])
    examples = TrainingExamples(pool, usable, CUES, chat, CONFIG, ahead)
    assert examples.groups.rows == (5, 6, 5, 6, 6, 5, 6, 5, 4)
    return Batches(examples, BatchOrder(examples.groups, 6, 3, Buffer(rows=15)), world, steps, in_use=in_use)


@pytest.mark.parametrize("threads", [0, 2])
def test_each_rank_reads_its_rows_of_every_batch(threads: int, pool: StoredSplit, chat: Chat, dataset: Path) -> None:
    expected = [
        row.example.id for step in range(16) for row in _batches(pool, chat, None, World.single("cpu"), 16).of(step)
    ]
    for epoch in (expected[:48], expected[48:]):
        assert sorted(epoch) == sorted(CUES)
    ranks = []
    for rank in range(2):
        fresh = Chat(chat.tokenizer, chat.image_processor)
        with DecodeAhead(fresh, threads) as ahead, _batches(pool, fresh, ahead, Rank(rank, 2), 16) as batches:
            ranks.append([[row.example.id for row in batches.of(step)] for step in range(16)])
    assert [key for pair in zip(*ranks, strict=True) for both in zip(*pair, strict=True) for key in both] == expected
    # A training that resumes at step 9 gets the same batches.
    with (
        DecodeAhead(chat, threads) as ahead,
        _batches(StoredSplit(dataset, "distill"), chat, ahead, Rank(1, 2), 16) as batches,
    ):
        assert [[row.example.id for row in batches.of(step)] for step in range(9, 16)] == ranks[1][9:]


def test_the_next_batch_is_decoded_in_other_threads_and_no_batch_after_the_last(
    pool: StoredSplit, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = Chat(chat.tokenizer, chat.image_processor)
    decoded: list[str] = []
    process = fresh.image_processor.preprocess
    monkeypatch.setattr(
        type(fresh.image_processor),
        "preprocess",
        lambda _, *args, **kwargs: (decoded.append(threading.current_thread().name), process(*args, **kwargs))[1],
    )
    read: list[int] = []
    with DecodeAhead(fresh, 2) as ahead, _batches(pool, fresh, ahead, World.single("cpu"), 3) as batches:
        rows = batches._rows
        monkeypatch.setattr(batches, "_rows", lambda step: (read.append(step), rows(step))[1])
        batches.of(0)
        end = time.monotonic() + 20
        while not decoded:
            assert time.monotonic() < end
            time.sleep(0.002)
        batches.of(1)
        batches.of(2)
    assert all(name.startswith("decode") for name in decoded)
    assert max(read) == 2


@pytest.mark.parametrize("in_use", [0, 1])
def test_images_of_a_batch_in_use_are_kept(in_use: int, pool: StoredSplit, chat: Chat) -> None:
    with DecodeAhead(chat, 2) as ahead, _batches(pool, chat, ahead, World.single("cpu"), 9, in_use) as batches:
        for step in range(3):
            batches.of(step)
        waiting = {expected.batch for expected in ahead._expected.values()}
    assert (1 in waiting) == bool(in_use)
    assert 3 in waiting


def test_a_shard_that_breaks_while_training_is_an_error_at_its_batch(
    pool: StoredSplit, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DecodeAhead(chat, 1) as ahead, _batches(pool, chat, ahead, World.single("cpu"), 9) as batches:
        batches.of(0)

        def broken(*_: object) -> None:
            raise VicurError("cannot be decoded.", where="distill-00000.parquet", remedy="Fetch it again.")

        pool._cache.clear()
        monkeypatch.setattr(pool, "_read", broken)
        with pytest.raises(VicurError, match="distill-00000"):
            list(map(batches.of, range(1, 9)))
