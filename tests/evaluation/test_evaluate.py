"""The evaluate stage with a real tiny model."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.evaluation.conftest import context
from vicur.config.evaluation import EvaluationConfig
from vicur.config.recovery import CueRecoverySettings
from vicur.errors import VicurError
from vicur.evaluation import EVALUATE, EvaluateSummary, evaluate
from vicur.evaluation.attention import SinkAttentionRecord, read_attention
from vicur.evaluation.metrics import EvaluationMetrics, read_metrics
from vicur.evaluation.predictions import Prediction, read_predictions
from vicur.modeling import load_model, save_model, with_cue_recovery
from vicur.storage.folders import tree_sha256

FAST = EvaluationConfig.model_validate(
    {"decoding": {"type": "greedy", "max_new_tokens": 6}, "max_examples": 7, "batch_size": 4, "attention_samples": 3}
)


@dataclass(frozen=True)
class Evaluated:
    """An evaluation and its files."""

    folder: Path
    summary: EvaluateSummary

    @property
    def metrics(self) -> EvaluationMetrics:
        return read_metrics(self.folder)

    @property
    def predictions(self) -> list[Prediction]:
        return read_predictions(self.folder)

    @property
    def attention(self) -> SinkAttentionRecord | None:
        return read_attention(self.folder)

    @property
    def responses(self) -> list[str]:
        return [p.response for p in self.predictions]


def run(dataset: Path, model: Path, folder: Path, config: EvaluationConfig = FAST) -> Evaluated:
    output = folder / "output"
    output.mkdir(parents=True)
    return Evaluated(output, evaluate(config, {"dataset": dataset, "model": model}, output, context(folder)))


@pytest.fixture(scope="module")
def student(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student whose cue recovery module changes its responses."""
    folder = tmp_path_factory.mktemp("student") / "student"
    model = with_cue_recovery(load_model(base_model), CueRecoverySettings(interval=2), 0)
    with torch.no_grad():
        for module in model.model.cue_recovery.layers.values():
            module.o_proj.weight.normal_(generator=torch.Generator().manual_seed(0))
    save_model(model, folder, chat_folder=base_model, record={"method": "vicur", "privilege": "cue"})
    return folder


@pytest.fixture(scope="module")
def of_base(dataset: Path, base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The evaluation of the base."""
    return run(dataset, base_model, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def of_student(dataset: Path, student: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The evaluation of the student."""
    return run(dataset, student, tmp_path_factory.mktemp("student"))


def test_a_base_is_evaluated_on_every_split_without_sink_attention(of_base: Evaluated) -> None:
    metrics, rows = of_base.metrics, of_base.predictions
    assert of_base.summary.examples == {"validation": 7, "test": 7, "ood": 7}
    assert [p.split for p in rows] == ["validation"] * 7 + ["test"] * 7 + ["ood"] * 7
    assert of_base.summary.method == metrics.model.method == "base"
    assert metrics.model.cue_recovery is None
    assert metrics.decoding["temperature"] == 0
    assert of_base.summary.metrics["test/accuracy"] == metrics.splits["test"].accuracy
    assert 0 < rows[0].tokens <= 6
    events = [json.loads(line) for line in (of_base.folder.parent / "events.jsonl").read_text().splitlines()]
    assert (events[-1]["done"], events[-1]["total"]) == (21, 21)
    assert of_base.attention is None


def test_the_sink_attention_of_a_student_covers_images_of_different_scenes(of_student: Evaluated) -> None:
    assert of_student.summary.method == "vicur"
    model = of_student.metrics.model
    assert (model.privilege, model.cue_recovery) == ("cue", {"interval": 2, "sink": "first", "num_heads": None})
    record = of_student.attention
    assert record is not None
    assert (record.sink, len(record.samples)) == ("first", 3)
    for sample in record.samples:
        (image,) = sample.images
        assert (image.rows, image.columns, list(image.layers)) == (2, 3, [0, 2])
        for weights in image.layers.values():
            assert len(weights) == 6
            assert sum(weights) == pytest.approx(1, abs=1e-3)
    groups = {p.example_id: p.group for p in of_student.predictions}
    assert len({groups[s.example_id] for s in record.samples}) == 3


def test_repeating_an_evaluation_gives_the_same_bytes(
    dataset: Path, student: Path, of_student: Evaluated, tmp_path: Path
) -> None:
    assert tree_sha256(run(dataset, student, tmp_path).folder) == tree_sha256(of_student.folder)


def test_sampled_responses_depend_on_the_seed_alone(dataset: Path, base_model: Path, tmp_path: Path) -> None:
    sampled = {"type": "sampled", "sampling": {"temperature": 1.0, "max_new_tokens": 6}}
    config = FAST.model_copy(update={"decoding": EvaluationConfig.model_validate({"decoding": sampled}).decoding})
    first, second = (run(dataset, base_model, tmp_path / name, config).responses for name in ("one", "two"))
    assert first == second
    assert len(set(first)) > 7


def test_the_paper_decoding_has_the_settings_of_the_paper() -> None:
    config = EvaluationConfig.model_validate({"decoding": {"type": "paper"}})
    sampling = config.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.7, 0.8, 20)
    assert (sampling.presence_penalty, sampling.max_new_tokens) == (1.5, 4096)


@pytest.mark.parametrize(
    ("splits", "rejected"),
    [(["validation"], "'test'"), (["test", "train"], "'train'"), (["test", "test"], "twice")],
)
def test_splits_that_cannot_be_reported_are_refused(splits: list[str], rejected: str) -> None:
    with pytest.raises(ValueError, match=rejected):
        EvaluationConfig.model_validate({"splits": splits})


def test_a_dataset_without_test_questions_is_refused(dataset: Path, base_model: Path, tmp_path: Path) -> None:
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["shards"] = [s for s in manifest["shards"] if s["split"] != "test"]
    del manifest["examples"]["test"]
    (tmp_path / "incomplete").mkdir()
    (tmp_path / "incomplete" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VicurError, match="no examples of split 'test'"):
        run(tmp_path / "incomplete", base_model, tmp_path)


def test_cuda_on_a_machine_without_a_gpu_is_refused(dataset: Path, base_model: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(VicurError, match="no GPU"):
        run(dataset, base_model, tmp_path, FAST.model_copy(update={"device": "cuda"}))


def test_a_damaged_training_record_is_refused(dataset: Path, student: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in student.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "vicur.json").write_text("{")
    with pytest.raises(VicurError, match=r"vicur\.json"):
        run(dataset, broken, tmp_path)


def test_the_stage_has_a_name_and_a_code_version() -> None:
    assert EVALUATE.name == "evaluate"
    assert len(EVALUATE.code) == 16


def test_with_its_module_off_a_student_responds_like_its_backbone(
    dataset: Path, student: Path, of_base: Evaluated, of_student: Evaluated, tmp_path: Path
) -> None:
    off = run(dataset, student, tmp_path, FAST.model_copy(update={"cue_recovery": False}))
    assert off.metrics.model.cue_recovery is None
    assert off.attention is None
    assert off.responses == of_base.responses != of_student.responses


def test_many_cut_off_responses_are_a_warning(
    dataset: Path, base_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(dataset, base_model, tmp_path)
    assert "Responses were cut off at 6 tokens before they ended (validation" in caplog.text
    assert "Raise evaluation.decoding.max_new_tokens" in caplog.text
