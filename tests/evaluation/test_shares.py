"""An evaluation whose questions are answered in several processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluation.conftest import context
from vicur.config.evaluation import EvaluationConfig
from vicur.errors import VicurError
from vicur.evaluation import evaluate, shares
from vicur.evaluation.answering import ALL, Share
from vicur.modeling.chat import Chat
from vicur.storage.folders import tree_sha256

SAMPLING = {"type": "sampled", "sampling": {"temperature": 1.0, "max_new_tokens": 4}}
CONFIG = EvaluationConfig.model_validate(
    {
        "splits": ["test"],
        "decoding": SAMPLING,
        "max_examples": 50,
        "batch_size": 2,  # parts of 32 questions
        "attention_samples": 0,
        "blind": {"views": ["no_image"], "max_examples": 6},
        "repeats": {"count": 3, "max_examples": 5, "decoding": SAMPLING},
    }
)
IN_TWO = CONFIG.model_copy(update={"processes": 2})


@pytest.fixture(scope="module")
def alone(dataset: Path, base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation by one process."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "output").mkdir()
    evaluate(CONFIG, {"dataset": dataset, "model": base_model}, folder / "output", context(folder))
    return folder / "output"


def test_two_processes_give_the_files_of_one(alone: Path, dataset: Path, base_model: Path, output: Path) -> None:
    stage = context(output.parent)
    evaluate(IN_TWO, {"dataset": dataset, "model": base_model}, output, stage)
    assert tree_sha256(output) == tree_sha256(alone)
    journals = [file.name for file in (stage.work / "answers").iterdir()]
    assert {name.split(".")[1] for name in journals} == {"0", "1"}
    events = [json.loads(line) for line in (output.parent / "events.jsonl").read_text().splitlines()]
    assert any(event.get("text") == "in 2 processes" for event in events)


def test_a_run_continues_with_another_number_of_processes(
    alone: Path, dataset: Path, base_model: Path, output: Path
) -> None:
    stage, inputs = context(output.parent), {"dataset": dataset, "model": base_model}
    shares.answer_in_processes(CONFIG, inputs, 512, stage, 2)
    # A kill has cut off one process early, and the other in the middle of a line.
    early, torn = sorted((stage.work / "answers").glob("test-000000000.*"))
    early.write_bytes(b"".join(early.read_bytes().splitlines(keepends=True)[:4]))
    torn.write_bytes(torn.read_bytes()[:-5])
    evaluate(CONFIG, inputs, output, stage)
    assert tree_sha256(output) == tree_sha256(alone)


def test_the_error_of_a_process_is_that_of_the_evaluation(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="no-model"):
        shares.answer_in_processes(
            IN_TWO, {"dataset": dataset, "model": tmp_path / "no-model"}, 512, context(tmp_path), 2
        )


def test_processes_share_all_batches(base_model: Path) -> None:
    chat = Chat.load(base_model)
    prompts = [chat.prompt(("a" * (n % 5),), ()) for n in range(23)]
    for processes in (2, 3, 7):
        rows = [Share(n, processes).rows(prompts, 4, 2) for n in range(processes)]
        assert sorted(n for share in rows for n in share) == list(range(23))
        assert max(map(len, rows)) - min(map(len, rows)) <= 4
    assert sorted(ALL.rows(prompts, 4)) == list(range(23))


def test_the_number_of_processes_is_not_part_of_the_identity() -> None:
    assert IN_TWO.identity() == CONFIG.identity()


@pytest.mark.parametrize(("devices", "setting", "processes"), [(4, 0, 4), (4, 2, 2), (0, 0, 1), (0, 3, 3)])
def test_by_default_each_gpu_has_a_process(
    monkeypatch: pytest.MonkeyPatch, devices: int, setting: int, processes: int
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: devices > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: devices)
    assert shares.process_count(EvaluationConfig(processes=setting)) == processes
