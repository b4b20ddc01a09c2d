from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.benchmarks.drawn import TABLES, write_own_questions, write_table, write_videos
from tests.evaluation.conftest import context
from tests.moto_s3 import empty_bucket, use_s3
from vicur.config.data import FolderConfig
from vicur.data import prepare
from vicur.evaluation.benchmarks.registry import BENCHMARKS
from vicur.evaluation.benchmarks.staging import stage


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with the own files of each benchmark, with questions of ours."""
    root = tmp_path_factory.mktemp("sources")
    for name, rows in TABLES.items():
        write_table(rows(), root / name / BENCHMARKS[name].file)
    write_videos(root / "videomme")
    rows_folder = write_own_questions(root / "own-rows")
    (root / "vision-r1").mkdir()
    config = FolderConfig(path=rows_folder, required_splits=("test",))
    prepare(config, config.inputs(), root / "vision-r1", context(root))
    return {name: root / name for name in BENCHMARKS}


@pytest.fixture(scope="session")
def staged(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A staged dataset of each benchmark."""
    from vicur.data.pin import file_md5

    root = tmp_path_factory.mktemp("staged")
    for name, folder in sources.items():
        own = "" if name == "vision-r1" else file_md5(folder / BENCHMARKS[name].file)
        stage(BENCHMARKS[name], folder, root / name, md5=own)
    return {name: root / name for name in sources}


@pytest.fixture(scope="session")
def reading_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with random weights and a byte-level tokenizer, which can spell every text."""
    import torch
    from transformers import Qwen3VLForConditionalGeneration

    from vicur.modeling.chat import Chat
    from vicur.modeling.checkpoint import save_model
    from vicur.modeling.tiny.architecture import TinySizes, tiny_config, tiny_image_processor
    from vicur.modeling.tiny.byte_tokenizer import byte_tokenizer

    texts = [str(row["question"]) for rows in TABLES.values() for row in rows()]
    tokenizer = byte_tokenizer(texts, 600, longest=4096)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "base"
    save_model(Qwen3VLForConditionalGeneration(tiny_config(tokenizer, TinySizes())).eval(), folder)
    Chat(tokenizer, tiny_image_processor()).save(folder)
    return folder


@pytest.fixture
def bucket(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket called ``bucket``."""
    use_s3(s3_address, monkeypatch)
    with empty_bucket("bucket") as made:
        yield made
