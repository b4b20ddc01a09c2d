"""The stages of a pipeline that answer and score benchmarks."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cues.openai_double import ReceivedRequest, Reply, openai_double
from tests.evaluation.benchmarks.judging import half_right, judge_reply, write_responses
from tests.evaluation.conftest import context
from vicur.config.benchmarks import AnswersConfig, ScoresConfig
from vicur.data.pin import dvc_hash
from vicur.errors import VicurError
from vicur.evaluation.benchmarks import score_stage
from vicur.evaluation.benchmarks.answer_stage import answer_benchmarks
from vicur.evaluation.benchmarks.answers import read_answers
from vicur.evaluation.benchmarks.harness import Harness
from vicur.evaluation.benchmarks.index import read_index, write_index
from vicur.evaluation.benchmarks.questions import QUESTIONS, write_questions
from vicur.evaluation.benchmarks.score_stage import score_benchmarks
from vicur.evaluation.benchmarks.scores import read_scores
from vicur.evaluation.benchmarks.scoring import score
from vicur.stage.runner import Context

RULES = ScoresConfig.model_validate({"judge": {"url": "none"}, "max_unclear": 1})


def answers_config(staged: dict[str, Path], *names: str, **settings: Any) -> AnswersConfig:
    """Settings that answer benchmarks in a few tokens."""
    sets = [
        {"type": "benchmark", "name": name, "path": str(staged[name]), "hash": dvc_hash(staged[name]).md5}
        for name in names
    ]
    evaluation = {
        "decoding": {"type": "sampled", "sampling": {"max_new_tokens": 4}},
        "device": "cpu",
        "batch_size": 4,
    }
    values = {"sets": sets, "evaluation": evaluation, "settings": "configured", **settings}
    return AnswersConfig.model_validate(values)


def answered(config: AnswersConfig, model: Path, folder: Path, checkpoints: str | None = None) -> Path:
    """Run the stage in a folder, and return its output."""
    output = folder / "answers"
    output.mkdir(parents=True)
    (folder / "work").mkdir()
    answer_benchmarks(config, {"model": model}, output, replace(_context(folder), checkpoints=checkpoints))
    return output


def _context(folder: Path) -> Context:
    (folder / "work").mkdir(exist_ok=True, parents=True)
    return replace(context(folder), work=folder / "work")


@pytest.fixture(scope="module")
def answers(staged: dict[str, Path], reading_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered(answers_config(staged, "wemath", "mathvista"), reading_base, tmp_path_factory.mktemp("answered"))


def test_answers_are_scored_without_the_dataset(answers: Path, staged: dict[str, Path], tmp_path: Path) -> None:
    assert read_index(answers) == ["wemath", "mathvista"]
    (tmp_path / "scores").mkdir()
    summary = score_benchmarks(RULES, {"answers": answers}, tmp_path / "scores", _context(tmp_path))
    direct = score(staged["wemath"], answers / "wemath", tmp_path / "direct", None, None, max_unclear=1)
    assert read_scores(tmp_path / "scores" / "wemath")[0] == direct
    assert summary.metrics["bench/wemath/score"] == direct.score
    assert summary.metrics["bench/mathvista/rows"] == 10
    assert set(summary.scores) == {"wemath", "mathvista"}


def test_several_processes_give_the_answers_of_one(
    answers: Path, staged: dict[str, Path], reading_base: Path, tmp_path: Path
) -> None:
    together = answered(answers_config(staged, "mathvista", processes=2), reading_base, tmp_path)
    assert read_answers(together / "mathvista") == read_answers(answers / "mathvista")


def test_a_process_that_fails_is_reported(staged: dict[str, Path], tmp_path: Path) -> None:
    config = answers_config(staged, "mathvista", processes=2)
    with pytest.raises(VicurError, match=r"(?s)process \d of 2 failed.*no/model"):
        answered(config, Path("no/model"), tmp_path)


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_another_machine_continues_after_the_last_batch(
    answers: Path,
    staged: dict[str, Path],
    reading_base: Path,
    tmp_path: Path,
    bucket: Any,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    from vicur.evaluation.benchmarks import answering

    address = str(tmp_path / "kept") if place == "folder" else f"s3://{bucket.name}/kept"
    config = answers_config(staged, "mathvista")
    generate, calls = answering.generate, []

    def lost(*arguments: Any, **options: Any) -> Any:
        calls.append(len(arguments[2]))
        if calls == [4, 4]:
            raise KeyboardInterrupt
        return generate(*arguments, **options)

    monkeypatch.setattr(answering, "generate", lost)
    with pytest.raises(KeyboardInterrupt):
        answered(config, reading_base, tmp_path / "first", address)
    other = answered(config, reading_base, tmp_path / "second", address)
    assert calls == [4, 4, 4, 2]
    assert read_answers(other / "mathvista") == read_answers(answers / "mathvista")


def test_benchmarks_are_fetched_from_s3(
    answers: Path, staged: dict[str, Path], reading_base: Path, tmp_path: Path, bucket: Any
) -> None:
    for file in staged["mathvista"].rglob("*"):
        bucket.upload_file(str(file), f"bench/{file.relative_to(staged['mathvista'])}")
    config = answers_config(staged, "mathvista")
    (each,) = config.sets
    config = config.model_copy(update={"sets": (each.model_copy(update={"path": f"s3://{bucket.name}/bench"}),)})
    fetched = answered(config, reading_base, tmp_path)
    assert read_answers(fetched / "mathvista") == read_answers(answers / "mathvista")
    assert not list((tmp_path / "work").glob("*.fetched"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hash": f"{'0' * 32}.dir"}, "has the hash"),
        ({"name": "mmmu"}, "is the benchmark mathvista, not mmmu"),
        ({"path": "nowhere"}, "is not a staged benchmark"),
    ],
)
def test_another_dataset_is_refused(
    staged: dict[str, Path], tmp_path: Path, change: dict[str, str], message: str
) -> None:
    config = answers_config(staged, "mathvista")
    config = config.model_copy(update={"sets": (config.sets[0].model_copy(update=change),)})
    with pytest.raises(VicurError, match=message):
        answered(config, Path("unused"), tmp_path)


def test_a_failed_judge_keeps_its_replies_for_the_retry(
    staged: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Path(__file__).with_name("stand_in_worker.py")
    monkeypatch.setattr(score_stage.Harness, "found", lambda *_: Harness(Path(sys.executable), worker))
    responses, _ = half_right(staged["mathvista"])
    folder = write_responses(staged["mathvista"], responses, tmp_path / "answers" / "mathvista")
    write_questions(staged["mathvista"], folder / QUESTIONS)
    write_index(["mathvista"], folder.parent)
    (tmp_path / "scores").mkdir()

    is_down = [True]
    replied: list[str] = []

    def dies_once(request: ReceivedRequest) -> Reply:
        if is_down[0] and len(double.requests) > 3:
            return Reply("unknown model", status=404)
        replied.append(str(request.body["messages"][-1]["content"]))
        return judge_reply(request)

    with openai_double(dies_once) as double:
        config = ScoresConfig.model_validate({"judge": {"url": double.url, "model": "judge"}, "max_unclear": 1})
        inputs, work = {"answers": folder.parent}, _context(tmp_path)
        with pytest.raises(VicurError, match="does not answer call") as error:
            score_benchmarks(config, inputs, tmp_path / "scores", work)
        assert error.value.retryable
        assert not list((tmp_path / "scores").iterdir())
        is_down[0] = False
        summary = score_benchmarks(config, inputs, tmp_path / "scores", work)
    assert sum("number 7" not in text for text in replied) == 10
    assert summary.metrics["bench/mathvista/judged"] == 10
