import json
from pathlib import Path

import pytest
import torch

from tests.evaluation.conftest import context
from vicur.config.evaluation import EvaluationConfig
from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.evaluation import EVALUATE, evaluate
from vicur.evaluation.attention import read_attention
from vicur.evaluation.metrics import read_metrics
from vicur.evaluation.predictions import read_predictions
from vicur.modeling import load_model, save_model, with_cue_recovery
from vicur.storage.folders import tree_sha256

FAST = EvaluationConfig.model_validate(
    {"decoding": {"type": "greedy", "max_new_tokens": 6}, "max_examples": 7, "batch_size": 4, "attention_samples": 3}
)


@pytest.fixture(scope="session")
def student(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student with a cue recovery module that does something."""
    folder = tmp_path_factory.mktemp("student") / "student"
    model = with_cue_recovery(load_model(base_model), CueRecoverySettings(interval=2), 0)
    with torch.no_grad():
        for module in model.model.cue_recovery.layers.values():
            module.o_proj.weight.normal_(generator=torch.Generator().manual_seed(0))
    save_model(model, folder, chat_folder=base_model, record={"method": "vicur", "privilege": "cue"})
    return folder


def test_a_base_is_evaluated_on_every_split(dataset: Path, base_model: Path, output: Path, tmp_path: Path) -> None:
    summary = evaluate(FAST, {"dataset": dataset, "model": base_model}, output, context(tmp_path))
    metrics, rows = read_metrics(output), read_predictions(output)
    assert summary.examples == {"validation": 7, "test": 7, "ood": 7}
    assert [p.split for p in rows] == ["validation"] * 7 + ["test"] * 7 + ["ood"] * 7
    assert summary.method == metrics.model.method == "base"
    assert metrics.model.cue_recovery is None
    assert metrics.decoding["temperature"] == 0
    assert summary.metrics["test/accuracy"] == metrics.splits["test"].accuracy
    assert 0 < rows[0].tokens <= 6
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (events[-1]["done"], events[-1]["total"]) == (21, 21)


def test_a_base_has_no_sink_attention(dataset: Path, base_model: Path, output: Path, tmp_path: Path) -> None:
    evaluate(FAST, {"dataset": dataset, "model": base_model}, output, context(tmp_path))
    assert read_attention(output) is None


def test_a_students_sink_attention_covers_the_image(dataset: Path, student: Path, output: Path, tmp_path: Path) -> None:
    summary = evaluate(FAST, {"dataset": dataset, "model": student}, output, context(tmp_path))
    metrics, record = read_metrics(output), read_attention(output)
    assert summary.method == "vicur"
    assert (metrics.model.privilege, metrics.model.cue_recovery) == (
        "cue",
        {"interval": 2, "sink": "first", "num_heads": None},
    )
    assert record is not None
    assert (record.sink, len(record.samples)) == ("first", 3)
    for sample in record.samples:
        (image,) = sample.images
        assert (image.rows, image.columns, list(image.layers)) == (2, 3, [0, 2])
        for weights in image.layers.values():
            assert len(weights) == 6
            assert sum(weights) == pytest.approx(1, abs=1e-3)


def test_samples_come_from_different_scenes(dataset: Path, student: Path, output: Path, tmp_path: Path) -> None:
    evaluate(FAST, {"dataset": dataset, "model": student}, output, context(tmp_path))
    groups = {p.example_id: p.group for p in read_predictions(output)}
    record = read_attention(output)
    assert record is not None
    assert len({groups[s.example_id] for s in record.samples}) == 3


def test_the_same_evaluation_gives_the_same_bytes(dataset: Path, student: Path, tmp_path: Path) -> None:
    hashes = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        evaluate(FAST, {"dataset": dataset, "model": student}, tmp_path / name, context(tmp_path))
        hashes.add(tree_sha256(tmp_path / name))
    assert len(hashes) == 1


def test_drawn_answers_follow_the_seed(dataset: Path, base_model: Path, tmp_path: Path) -> None:
    sampled = {"type": "sampled", "sampling": {"temperature": 1.0, "max_new_tokens": 6}}
    drawn = FAST.model_copy(update={"decoding": EvaluationConfig.model_validate({"decoding": sampled}).decoding})
    answers = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        evaluate(drawn, {"dataset": dataset, "model": base_model}, tmp_path / name, context(tmp_path))
        answers.append([p.response for p in read_predictions(tmp_path / name)])
    assert answers[0] == answers[1]
    assert len(set(answers[0])) > 7


def test_the_papers_settings_go_by_one_name() -> None:
    config = EvaluationConfig.model_validate({"decoding": {"type": "paper"}})
    sampling = config.decoding.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.7, 0.8, 20)
    assert (sampling.presence_penalty, sampling.max_new_tokens) == (1.5, 4096)


@pytest.mark.parametrize(
    ("splits", "problem"),
    [(["validation"], "has no 'test'"), (["test", "train"], "'train', which is none of"), (["test", "test"], "twice")],
)
def test_splits_that_make_no_report_are_refused(splits: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        EvaluationConfig.model_validate({"splits": splits})


def test_a_dataset_without_test_questions_is_refused(
    dataset: Path, base_model: Path, output: Path, tmp_path: Path
) -> None:
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["shards"] = [s for s in manifest["shards"] if s["split"] != "test"]
    del manifest["examples"]["test"]
    (tmp_path / "poor").mkdir()
    (tmp_path / "poor" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VicurError, match="no examples of split 'test'"):
        evaluate(FAST, {"dataset": tmp_path / "poor", "model": base_model}, output, context(tmp_path))


def test_a_gpu_that_is_not_there_is_refused(dataset: Path, base_model: Path, output: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    config = FAST.model_copy(update={"device": "cuda"})
    with pytest.raises(VicurError, match="no GPU"):
        evaluate(config, {"dataset": dataset, "model": base_model}, output, context(tmp_path))


def test_a_damaged_record_of_a_student_is_named(dataset: Path, student: Path, output: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in student.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "vicur.json").write_text("{")
    with pytest.raises(VicurError, match=r"vicur\.json"):
        evaluate(FAST, {"dataset": dataset, "model": broken}, output, context(tmp_path))


def test_the_stage_goes_by_its_name() -> None:
    assert EVALUATE.name == "evaluate"
    assert len(EVALUATE.code) == 16


def test_with_the_module_off_a_student_answers_as_its_backbone(
    dataset: Path, base_model: Path, student: Path, output: Path, tmp_path: Path
) -> None:
    off = FAST.model_copy(update={"cue_recovery": False})
    evaluate(off, {"dataset": dataset, "model": student}, output, context(tmp_path))
    assert read_metrics(output).model.cue_recovery is None
    assert read_attention(output) is None
    answers = {}
    for name, model in (("student", student), ("base", base_model)):
        (tmp_path / name).mkdir()
        evaluate(FAST, {"dataset": dataset, "model": model}, tmp_path / name, context(tmp_path))
        answers[name] = [p.response for p in read_predictions(tmp_path / name)]
    assert [p.response for p in read_predictions(output)] == answers["base"] != answers["student"]
