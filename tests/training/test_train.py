"""The training stage: its outputs and its errors."""

import json
import shutil

import pytest
import torch
from transformers import Qwen3VLForConditionalGeneration

from tests.training.conftest import curves
from tests.training.factory import scenes
from tests.training.train_once import SETTINGS, train_once
from vicur.cluster.jobs.failures import WRONG_INPUT
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.config.methods import METHODS
from vicur.config.training import TrainConfig
from vicur.cues import EXTRACT
from vicur.data.sources import stage_inputs
from vicur.errors import VicurError
from vicur.modeling import load_model
from vicur.modeling.chat import Chat
from vicur.stage.runner import execute
from vicur.storage.folders import tree_sha256
from vicur.training import TRAIN
from vicur.training.selection import training_examples


def test_student_folder_contains_model_chat_record_and_metrics(uninterrupted):
    model = load_model(uninterrupted)
    assert type(model).__name__ == "Qwen3VLStudentForConditionalGeneration"
    record = json.loads((uninterrupted / "vicur.json").read_text())
    assert (record["method"], record["privilege"], record["recovery"], record["seed"]) == ("vicur", "cue", True, 0)
    assert {"tokenizer.json", "preprocessor_config.json", "model.safetensors"} <= {
        p.name for p in uninterrupted.iterdir()
    }
    assert [r["step"] for r in curves(uninterrupted)] == list(range(7))
    assert [r["step"] for r in curves(uninterrupted) if "validation_accuracy" in r] == [0, 2, 4, 6]


def test_tracker_gets_each_step_once(uninterrupted):
    tracked = [json.loads(line) for line in (uninterrupted.parent / "tracked.jsonl").read_text().splitlines()]
    assert [r["step"] for r in tracked if "loss" in r] == list(range(1, 7))


def test_same_seed_gives_the_same_bytes(uninterrupted, inputs, tmp_path):
    again = train_once(inputs, tmp_path)
    assert (again / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()
    assert curves(again) == curves(uninterrupted)


@pytest.mark.parametrize("method", METHODS)
def test_student_of_every_method_loads_and_records_its_settings(method, inputs, session, tmp_path):
    named = (
        {"teacher": {"type": "checkpoint", "path": inputs["base"]}}
        if method.startswith("opd-") or method == "opd"
        else {}
    )
    config = TrainConfig(method=method, steps=1, batch_size=4, rollout={"max_new_tokens": 40}, **named)
    summary = execute(TRAIN, config, {**stage_inputs(config), **inputs}, tmp_path / "student", session)
    plain = type(load_model(tmp_path / "student")) is Qwen3VLForConditionalGeneration
    assert plain == (not config.effective.recovery)
    assert summary.method == method
    assert not summary.skipped
    record = json.loads((tmp_path / "student" / "vicur.json").read_text())
    assert (record["privilege"], record["objective"]["type"]) == (
        config.effective.privilege,
        config.effective.objective.type,
    )
    assert record["training"]["teacher"]["type"] == config.effective.teacher.type
    assert record["training"]["recovery"]["enabled"] == config.effective.recovery


def test_training_stops_when_validation_no_longer_improves(inputs, session, tmp_path):
    config = TrainConfig.model_validate(
        {**SETTINGS.model_dump(), "steps": 50, "validate_every": 1, "patience": 2, "learning_rate": 1e-9}
    )
    summary = execute(TRAIN, config, inputs, tmp_path / "student", session)
    assert (summary.steps, summary.best_step) == (2, 0)


def test_missing_cues_are_rejected(inputs, session, tmp_path):
    config = CuesConfig(provider=AnnotationCues(), splits=("distill",))
    execute(EXTRACT, config, {"dataset": inputs["dataset"]}, tmp_path / "cues", session)
    import pyarrow.parquet as pq

    file = tmp_path / "cues" / "cues.parquet"
    pq.write_table(pq.read_table(file).slice(0, 3), file)
    with pytest.raises(VicurError, match=r"21 of 24 distillation examples cannot be used .*has no cue"):
        execute(TRAIN, SETTINGS, {**inputs, "cues": tmp_path / "cues"}, tmp_path / "student", session)
    assert not (tmp_path / "student").exists()


def test_long_prompts_are_rejected_with_their_length(inputs, session, tmp_path):
    config = TrainConfig.model_validate({**SETTINGS.model_dump(), "max_prompt_tokens": 20})
    with pytest.raises(VicurError, match="above max_prompt_tokens = 20"):
        execute(TRAIN, config, inputs, tmp_path / "student", session)


def test_example_without_an_image_is_skipped_if_only_the_module_is_trained(base):
    """A batch of such examples would have no gradient."""
    config, (example, *_) = TrainConfig(trained={"type": "recovery"}, max_unhinted_share=0.5), scenes("distill")
    blind = example.model_copy(update={"id": "blind", "images": ()})
    kept, skipped = training_examples(
        [example, blind], {e.id: "cue" for e in (example, blind)}, Chat.load(base), config
    )
    assert [row.example.id for row in kept] == [example.id]
    assert skipped == {"blind": "has no image, without which the cue recovery module gets no gradient"}


def test_base_without_a_model_is_rejected_and_an_earlier_student_stays(inputs, session, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path / "student")
    before = tree_sha256(tmp_path / "student")
    (tmp_path / "base").mkdir()
    with pytest.raises(VicurError):
        execute(TRAIN, SETTINGS, {**inputs, "base": tmp_path / "base"}, tmp_path / "student", session)
    assert tree_sha256(tmp_path / "student") == before


def test_gpu_out_of_memory_is_an_error_that_no_retry_repeats(inputs, tmp_path, monkeypatch):
    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    monkeypatch.setattr("vicur.training.trainer.training_step", step)
    with pytest.raises(VicurError, match=r"the GPU ran out of memory \(CUDA out of memory\)") as caught:
        train_once(inputs, tmp_path)
    assert (caught.value.where, caught.value.retryable) == ("training, method vicur", False)
    assert caught.value.exit_code == WRONG_INPUT, "a TrainJob is not repeated either"
    assert "vicur plan" in caught.value.remedy
    assert not (tmp_path / "student").exists()


def test_update_that_breaks_the_student_is_not_kept_in_a_checkpoint(inputs, tmp_path):
    # The weights are finite, but the next forward overflows.
    settings = SETTINGS.model_copy(update={"learning_rate": 1e25, "validate_every": 3})
    with pytest.raises(VicurError, match=r"training diverged at step 1: .* after the update"):
        train_once(inputs, tmp_path, settings)
    assert not list(tmp_path.rglob("step-*"))
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not (tmp_path / "student").exists()
