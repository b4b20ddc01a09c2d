"""The base model is checked and copied before any other step needs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vicur.config.base import BaseModelConfig
from vicur.errors import VicurError
from vicur.stage.events import Events
from vicur.stage.runner import Context
from vicur.tracking.tracker import Tracker
from vicur.weights.base_model import provide_base


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("run-1", 0, Tracker(), Events("base", None), tmp_path / "work")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    save_file({"a": torch.zeros(3, 4), "b": torch.zeros(5)}, folder / "model-1.safetensors", {"format": "pt"})
    save_file({"c": torch.zeros(1000)}, folder / "model-2.safetensors")
    return folder


def provide(source: Path, output: Path, context: Context) -> str:
    output.mkdir(parents=True, exist_ok=True)
    return provide_base(BaseModelConfig(path=str(source)), {"source": source}, output, context).key_figure


def test_parameters_are_counted_without_loading_the_model(model: Path, tmp_path: Path, context: Context) -> None:
    assert provide(model, tmp_path / "out", context) == "1.02 k parameters"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in model.iterdir())


def test_result_is_a_copy_that_can_be_edited_without_the_users_model(
    model: Path, tmp_path: Path, context: Context
) -> None:
    provide(model, tmp_path / "out", context)
    (tmp_path / "out" / "config.json").write_text("edited")
    assert (model / "config.json").read_text() == "{}"
    for file in model.iterdir():
        assert not (tmp_path / "out" / file.name).samefile(file)
        assert file.name == "config.json" or (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("missing", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_a_missing_file_is_reported(model: Path, tmp_path: Path, context: Context, missing: str) -> None:
    (model / missing).unlink()
    with pytest.raises(VicurError, match=missing):
        provide(model, tmp_path / "out", context)


def test_a_folder_without_weights_is_rejected(model: Path, tmp_path: Path, context: Context) -> None:
    for file in model.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(VicurError, match="safetensors"):
        provide(model, tmp_path / "out", context)


@pytest.mark.parametrize(
    "content", [b"", b"short", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"{]", b"\x02" + b"\0" * 7 + b"[]"]
)
def test_truncated_weights_are_reported_by_file(model: Path, tmp_path: Path, context: Context, content: bytes) -> None:
    (model / "model-2.safetensors").write_bytes(content)
    with pytest.raises(VicurError, match=r"model-2\.safetensors"):
        provide(model, tmp_path / "out", context)


def test_the_model_that_ships_with_the_package_is_complete(tmp_path: Path, context: Context) -> None:
    folder = BaseModelConfig().folder
    assert provide(folder, tmp_path / "out", context).endswith("k parameters")
