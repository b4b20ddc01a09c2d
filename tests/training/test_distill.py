"""The training stage: what it writes, what it refuses, and that a kill changes nothing."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import Qwen3VLForConditionalGeneration

from tests.training.factory import SMALL
from tests.training.train_once import SETTINGS, train_once
from vicur.config.cues import AnnotationCues, CuesConfig
from vicur.config.training import METHODS, TrainConfig
from vicur.cues import EXTRACT
from vicur.data import PREPARE
from vicur.errors import VicurError
from vicur.modeling import load_model
from vicur.stage import Session, execute
from vicur.storage import tree_sha256
from vicur.tracking import Tracker
from vicur.training import TRAIN


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    root = tmp_path_factory.mktemp("session")
    return Session("run", 0, None, root / "scratch", lambda _: Tracker())


@pytest.fixture(scope="module")
def inputs(session, base, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("inputs")
    execute(PREPARE, SMALL, {}, root / "dataset", session)
    cues = CuesConfig(provider=AnnotationCues())
    execute(EXTRACT, cues, {"dataset": root / "dataset"}, root / "cues", session)
    return {"base": base, "dataset": root / "dataset", "cues": root / "cues"}


@pytest.fixture(scope="module")
def uninterrupted(inputs, tmp_path_factory) -> Path:
    return train_once(**inputs, root=tmp_path_factory.mktemp("uninterrupted"))


def curves(student: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (student / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if not k.startswith("seconds/") and k != "tokens_per_second"} for r in records]


def test_the_student_folder_holds_model_chat_record_and_curves(uninterrupted):
    model = load_model(uninterrupted)
    assert type(model).__name__ == "Qwen3VLStudentForConditionalGeneration"
    record = json.loads((uninterrupted / "vicur.json").read_text())
    assert (record["method"], record["privilege"], record["recovery"], record["seed"]) == ("vicur", "cue", True, 0)
    assert {"tokenizer.json", "preprocessor_config.json", "model.safetensors"} <= {
        p.name for p in uninterrupted.iterdir()
    }
    assert [r["step"] for r in curves(uninterrupted)] == list(range(7))
    assert [r["step"] for r in curves(uninterrupted) if "validation_accuracy" in r] == [0, 2, 4, 6]


def test_the_tracker_gets_each_step_once(uninterrupted):
    tracked = [json.loads(line) for line in (uninterrupted.parent / "tracked.jsonl").read_text().splitlines()]
    assert [r["step"] for r in tracked if "loss" in r] == list(range(1, 7))


def test_the_same_seed_gives_the_same_bytes(uninterrupted, inputs, tmp_path):
    again = train_once(**inputs, root=tmp_path)
    assert (again / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()
    assert curves(again) == curves(uninterrupted)


@pytest.mark.parametrize("number", range(2))
def test_a_training_that_is_killed_goes_on_and_ends_bit_for_bit_the_same(uninterrupted, inputs, tmp_path, number):
    command = [
        sys.executable,
        "-m",
        "tests.training.train_once",
        *(str(inputs[k]) for k in ("base", "dataset", "cues")),
        str(tmp_path),
    ]
    drawn = random.Random(number)  # noqa: S311
    wanted = sorted(drawn.sample(range(1, 6), 2))
    for checkpoint in wanted:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for(tmp_path, checkpoint, process)
        time.sleep(drawn.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    student = train_once(**inputs, root=tmp_path)
    assert (student / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()
    assert curves(student) == curves(uninterrupted)
    tracked = [
        json.loads(line)["step"] for line in (tmp_path / "tracked.jsonl").read_text().splitlines() if '"loss"' in line
    ]
    assert sorted(set(tracked)) == list(range(1, 7))


def _wait_for(root: Path, step: int, process: subprocess.Popen) -> None:
    """Waits until checkpoint ``step`` is there, or the process is through."""
    deadline = time.monotonic() + 120
    while process.poll() is None and not list(root.glob(f"cache/train/*.work/step-{step:06d}")):
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.02)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "vicur"])
def test_a_student_without_recovery_is_a_plain_qwen3_vl(method, inputs, session, tmp_path):
    config = TrainConfig.model_validate({**SETTINGS.model_dump(), "method": method, "steps": 1})
    summary = execute(TRAIN, config, inputs, tmp_path / "student", session)
    plain = type(load_model(tmp_path / "student")) is Qwen3VLForConditionalGeneration
    assert plain == (method != "opsd-recovery")
    assert summary.method == method
    assert not summary.skipped


def test_training_stops_when_validation_no_longer_improves(inputs, session, tmp_path):
    config = TrainConfig.model_validate(
        {**SETTINGS.model_dump(), "steps": 50, "validate_every": 1, "patience": 2, "learning_rate": 1e-9}
    )
    summary = execute(TRAIN, config, inputs, tmp_path / "student", session)
    assert (summary.steps, summary.best_step) == (2, 0)


def test_cues_that_are_missing_stop_a_method_that_needs_them(inputs, session, tmp_path):
    config = CuesConfig(provider=AnnotationCues(), splits=("distill",))
    execute(EXTRACT, config, {"dataset": inputs["dataset"]}, tmp_path / "cues", session)
    import pyarrow.parquet as pq

    file = tmp_path / "cues" / "cues.parquet"
    pq.write_table(pq.read_table(file).slice(0, 3), file)
    with pytest.raises(VicurError, match=r"21 of 24 distillation examples cannot be used .*has no cue"):
        execute(TRAIN, SETTINGS, {**inputs, "cues": tmp_path / "cues"}, tmp_path / "student", session)
    assert not (tmp_path / "student").exists()


def test_prompts_that_are_too_long_are_refused_with_their_length(inputs, session, tmp_path):
    config = TrainConfig.model_validate({**SETTINGS.model_dump(), "max_prompt_tokens": 20})
    with pytest.raises(VicurError, match="above max_prompt_tokens = 20"):
        execute(TRAIN, config, inputs, tmp_path / "student", session)


def test_a_base_that_is_no_model_is_refused_and_an_earlier_student_stays(inputs, session, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted, tmp_path / "student")
    before = tree_sha256(tmp_path / "student")
    (tmp_path / "base").mkdir()
    with pytest.raises(VicurError):
        execute(TRAIN, SETTINGS, {**inputs, "base": tmp_path / "base"}, tmp_path / "student", session)
    assert tree_sha256(tmp_path / "student") == before
