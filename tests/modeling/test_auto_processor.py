"""A student's folder as transformers' ``AutoProcessor`` reads it, with and without this package."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoProcessor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from tests.training.factory import save_random_base
from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.modeling import load_model, save_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.processor_files import name_processor


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def student(base: Path) -> Path:
    folder = base.parent / "student"
    model = with_cue_recovery(load_model(base), CueRecoverySettings(interval=2), 0)
    save_model(model, folder, chat_folder=base, record={})
    return folder


@pytest.mark.parametrize("is_installed", [True, False], ids=["with this package", "without"])
def test_the_processor_of_a_student_is_that_of_qwen3_vl(
    student: Path, is_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_installed:
        for mapping in (CONFIG_MAPPING, PROCESSOR_MAPPING):
            monkeypatch.setattr(mapping, "_extra_content", {})
    if find_spec("torchvision") is None:
        # Not a tokenizer, which would silently ignore images.
        with pytest.raises(ImportError, match=r"[Tt]orchvision"):
            AutoProcessor.from_pretrained(student)
    else:
        processor = AutoProcessor.from_pretrained(student)
        assert type(processor).__name__ == "Qwen3VLProcessor"
        assert processor.image_processor is not None
        assert type(processor.video_processor).__name__ == "Qwen3VLVideoProcessor"


def test_pictures_and_videos_have_the_settings_of_the_base(base: Path, student: Path) -> None:
    ours, theirs = Chat.load(student), Chat.load(base)
    assert ours.image_processor.to_dict() == theirs.image_processor.to_dict()
    grids = [chat.video_processor.grid(7, 90, 60, chat.prompts.pixels.of("student")) for chat in (ours, theirs)]
    assert grids[0] == grids[1]


def test_a_student_of_a_student_has_the_same_files(student: Path, tmp_path: Path) -> None:
    save_model(load_model(student), tmp_path / "next", chat_folder=student, record={})
    for name in ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        assert (tmp_path / "next" / name).read_bytes() == (student / name).read_bytes()


def test_a_base_without_the_module_keeps_its_files(base: Path, tmp_path: Path) -> None:
    save_model(load_model(base), tmp_path / "plain", chat_folder=base, record={})
    assert not (tmp_path / "plain" / "processor_config.json").exists()


def test_settings_in_the_processors_own_file_are_kept(tmp_path: Path) -> None:
    images, videos = {"image_processor_type": "X", "size": 3}, {"video_processor_type": "Y"}
    own = {"image_processor": images, "video_processor": videos, "processor_class": "Other"}
    (tmp_path / "processor_config.json").write_text(json.dumps(own))
    name_processor(tmp_path)
    found = json.loads((tmp_path / "processor_config.json").read_text())
    assert found == {**own, "processor_class": "Qwen3VLProcessor"}
    assert not (tmp_path / "video_preprocessor_config.json").exists()


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(content)
    with pytest.raises(VicurError, match="settings of a processor"):
        name_processor(tmp_path)
