"""Base, teacher and settings are checked against each other from their configuration files, before any weights are read."""

import json
import shutil
from pathlib import Path

import pytest
from transformers import Qwen3VLForConditionalGeneration

from vicur.config.recovery import CueRecoverySettings
from vicur.config.training import TrainConfig
from vicur.data.digit_scenes import vocabulary
from vicur.data.sources import stage_inputs
from vicur.errors import VicurError
from vicur.modeling import load_model, save_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.tiny.architecture import tiny_config, tiny_image_processor, tiny_tokenizer
from vicur.stage.runner import execute, stage_identity
from vicur.training import TRAIN
from vicur.training.preflight import require_fit


@pytest.fixture
def teacher(base, tmp_path) -> Path:
    """Another checkpoint with invalid weights, which must not be read."""
    shutil.copytree(base, tmp_path / "teacher")
    (tmp_path / "teacher" / "model.safetensors").write_bytes(b"not weights")
    return tmp_path / "teacher"


def check(base: Path, **settings: object) -> None:
    config = TrainConfig.model_validate(settings)
    require_fit(config, {**stage_inputs(config), "base": base}, Chat.load(base))


def opd(base: Path, teacher: Path) -> None:
    check(base, method="opd", teacher={"type": "checkpoint", "path": teacher})


def edit(folder: Path, file: str, section: str | None = None, **values: object) -> None:
    content = json.loads((folder / file).read_text())
    (content if section is None else content[section]).update(values)
    (folder / file).write_text(json.dumps(content))


def test_teacher_with_the_students_vocabulary_and_patches_fits(base, teacher):
    opd(base, teacher)


def test_teacher_with_another_vocabulary_is_rejected_with_the_different_tokens(base, teacher):
    tokenizer = tiny_tokenizer([*vocabulary(), "zebra"])
    save_model(Qwen3VLForConditionalGeneration(tiny_config(tokenizer)), teacher)
    Chat(tokenizer, tiny_image_processor()).save(teacher)
    with pytest.raises(VicurError, match=r"vocabulary differs from the student's in \d+ tokens .* model family"):
        opd(base, teacher)


def test_teacher_with_a_larger_output_layer_is_rejected(base, teacher):
    rows = json.loads((base / "config.json").read_text())["text_config"]["vocab_size"]
    edit(teacher, "config.json", "text_config", vocab_size=rows + 8)
    with pytest.raises(VicurError, match=f"output layer has {rows + 8} rows, but the student's has {rows}"):
        opd(base, teacher)


def test_teacher_with_other_patches_is_rejected(base, teacher):
    edit(teacher, "config.json", "vision_config", patch_size=16)
    edit(teacher, "preprocessor_config.json", image_mean=[0.1, 0.1, 0.1])
    with pytest.raises(
        VicurError, match=r"reads other image patches than the student: patch_size 16 instead of 8, image_mean .*0\.1"
    ):
        opd(base, teacher)


def test_teacher_folder_without_a_model_is_rejected(base, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VicurError, match="not a readable model configuration"):
        opd(base, tmp_path / "empty")


def test_rank_as_large_as_a_side_is_rejected_with_that_side(base):
    check(base, method="opsd", trained={"type": "lora", "rank": 95})
    with pytest.raises(VicurError, match=r"the rank is 96, .*: the text hidden size of the base is 96"):
        check(base, method="opsd", trained={"type": "lora", "rank": 96})
    with pytest.raises(VicurError, match="the vision hidden size of the base is 64"):
        check(base, method="opsd", trained={"type": "lora", "rank": 64, "vision": True})


def test_module_of_the_base_is_kept_or_the_settings_are_rejected(base, tmp_path):
    made = with_cue_recovery(load_model(base), CueRecoverySettings(interval=2), 0)
    save_model(made, tmp_path / "student", chat_folder=base)
    check(tmp_path / "student", method="vicur")
    with pytest.raises(VicurError, match=r"Set training\.recovery to \{enabled: true, interval: 2, sink: first\}"):
        check(tmp_path / "student", method="opsd")
    with pytest.raises(VicurError, match="would discard or change"):
        check(tmp_path / "student", method="vicur", recovery={"interval": 3})


def test_stage_checks_before_it_loads_a_model(inputs, session, teacher, tmp_path):
    edit(teacher, "config.json", "text_config", vocab_size=1000)
    config = TrainConfig.model_validate({"method": "opd", "teacher": {"type": "checkpoint", "path": teacher}})
    base = tmp_path / "base"
    shutil.copytree(inputs["base"], base)
    (base / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(VicurError, match="output layer has 1000 rows"):
        execute(TRAIN, config, {**inputs, **stage_inputs(config), "base": base}, tmp_path / "out", session)
    assert not (tmp_path / "out").exists()


def test_identity_depends_on_the_teachers_bytes(inputs, teacher):
    config = TrainConfig.model_validate({"method": "opd", "teacher": {"type": "checkpoint", "path": teacher}})
    paths = {**stage_inputs(config), **inputs}
    before = stage_identity(TRAIN, config, paths, 0)
    (teacher / "model.safetensors").write_bytes(b"other weights")
    after = stage_identity(TRAIN, config, paths, 0)
    assert before["inputs"]["teacher"] != after["inputs"]["teacher"]
