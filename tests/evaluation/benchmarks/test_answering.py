"""Answering staged benchmarks: the right prompts, any order of work, and resuming."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from vicur.cli import app
from vicur.config.evaluation import EvaluationConfig
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.evaluation.benchmarks import answering
from vicur.evaluation.benchmarks.answering import PAPER_PROMPTS, Shard, answer, paper_settings
from vicur.evaluation.benchmarks.answers import ANSWERS, FILES, read_answers
from vicur.evaluation.benchmarks.content import content_of_parts
from vicur.modeling.chat import Chat

CONFIG = EvaluationConfig.model_validate(
    {"decoding": {"type": "sampled", "sampling": {"max_new_tokens": 3}}, "batch_size": 4, "device": "cpu"}
)


@pytest.fixture(scope="module")
def answered(staged: dict[str, Path], reading_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("answers") / "mmmu"
    answer(staged["mmmu"], reading_base, folder, CONFIG, seed=0)
    return folder


@pytest.mark.parametrize("name", ["vision-r1", "dynamath", "mathverse", "videomme"])
def test_every_question_has_an_answer(staged: dict[str, Path], reading_base: Path, tmp_path: Path, name: str) -> None:
    seen: list[tuple[int, int]] = []
    counts = answer(
        staged[name], reading_base, tmp_path / "out", CONFIG, seed=0, on_progress=lambda *now: seen.append(now)
    )
    record, answers = read_answers(tmp_path / "out")
    assert [each.id for each in answers] == [row.id for row in read_examples(staged[name])]
    assert counts.is_complete
    assert counts.resumed == 0
    assert seen[-1] == (len(answers), len(answers))
    assert (record.benchmark, record.method) == (name, "base")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out"]
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == sorted(FILES)


def test_answers_depend_neither_on_batches_nor_on_shards(
    answered: Path, staged: dict[str, Path], reading_base: Path, tmp_path: Path
) -> None:
    other = CONFIG.model_copy(update={"batch_size": 7})
    answer(staged["mmmu"], reading_base, tmp_path / "batches", other, seed=0)
    for number in (2, 0, 1):
        assert not (tmp_path / "shards").exists()
        counts = answer(staged["mmmu"], reading_base, tmp_path / "shards", CONFIG, seed=0, shard=Shard(number, 3))
    assert counts.is_complete
    expected = pq.read_table(answered / ANSWERS)
    assert pq.read_table(tmp_path / "batches" / ANSWERS).equals(expected)
    assert pq.read_table(tmp_path / "shards" / ANSWERS).equals(expected)


def test_an_interrupted_run_continues_behind_its_last_batch(
    answered: Path, staged: dict[str, Path], reading_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = answering.generate

    def dies(*arguments: object, **settings: object) -> object:
        asked.append(len(arguments[2]))  # type: ignore[arg-type]
        if len(asked) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(answering, "generate", dies)
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        answer(staged["mmmu"], reading_base, output, CONFIG, seed=0)
    # A process that is killed while it writes leaves half a line.
    with (tmp_path / "out.parts/0-of-1.jsonl").open("a") as file:
        file.write('[4, {"id": "mmmu-4", "resp')
    for other in ({"seed": 1}, {"seed": 0, "config": CONFIG.model_copy(update={"cue_recovery": False})}):
        settings = {"config": CONFIG, **other}
        with pytest.raises(VicurError, match="answers of a run with another settings"):
            answer(staged["mmmu"], reading_base, output, settings["config"], seed=settings["seed"])  # type: ignore[arg-type]
    counts = answer(staged["mmmu"], reading_base, output, CONFIG, seed=0)
    assert counts.resumed == 4
    assert asked == [4, 4, 4, 1]
    assert (output / ANSWERS).read_bytes() == (answered / ANSWERS).read_bytes()
    # A complete output is not answered again.
    assert answer(staged["mmmu"], reading_base, output, CONFIG, seed=0).resumed == 9
    assert len(asked) == 4


def test_prompts_are_the_stored_content_with_the_papers_system_message_and_pixels(
    staged: dict[str, Path], reading_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    settings = paper_settings(CONFIG)
    assert settings.sampling.model_dump() == {
        "temperature": 0.7, "top_p": 0.8, "top_k": 20, "presence_penalty": 1.5, "max_new_tokens": 4096,
    }  # fmt: skip
    short = settings.model_copy(update={"decoding": CONFIG.decoding})
    original = answering.generate

    def remember(model: object, chat: object, prompts: list, *arguments: object, **more: object) -> object:  # type: ignore[type-arg]
        seen.extend(prompt.ids for prompt in prompts)
        return original(model, chat, prompts, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(answering, "generate", remember)
    answer(staged["mmmu"], reading_base, tmp_path / "out", short, seed=0)
    chat = Chat.load(reading_base, PAPER_PROMPTS)
    assert chat.pixel_range("evaluation") == {"shortest_edge": 3584, "longest_edge": 401_408}
    for example, ids in zip(read_examples(staged["mmmu"]), seen, strict=True):
        pixels = [chat.pixels(image, "evaluation") for image in example.images]
        assert chat.prompt(content_of_parts(example), pixels).ids == ids
    assert chat.decode(seen[0]).startswith("system\nYou are a helpful assistant.")


def test_a_prompt_that_is_too_long_is_not_asked(staged: dict[str, Path], reading_base: Path, tmp_path: Path) -> None:
    short = CONFIG.model_copy(update={"max_prompt_tokens": 16, "max_examples": 5})
    counts = answer(staged["wemath"], reading_base, tmp_path / "out", short, seed=0)
    assert (counts.rows, counts.unanswered) == (5, 5)
    assert {each.unanswered for each in read_answers(tmp_path / "out")[1]} == {"prompt too long"}


def test_a_dataset_that_is_not_staged_is_refused(sources: dict[str, Path], reading_base: Path, tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="is not a staged benchmark"):
        answer(sources["vision-r1"], reading_base, tmp_path / "out", CONFIG, seed=0)


def test_the_command_answers_and_says_what_is_missing(
    staged: dict[str, Path], reading_base: Path, tmp_path: Path
) -> None:
    arguments = [
        "benchmarks",
        "answer",
        str(staged["wemath"]),
        "--model",
        str(reading_base),
        "-o",
        str(tmp_path / "out"),
    ]
    arguments += ["--settings", "configured", "--set", "evaluation.decoding={type: greedy, max_new_tokens: 2}"]
    first = CliRunner().invoke(app, [*arguments, "--shard", "1/2"], catch_exceptions=False)
    assert "5 of 10 questions answered" in first.output
    assert "Not complete: other shards are missing" in first.output
    second = CliRunner().invoke(app, [*arguments, "--shard", "0/2"], catch_exceptions=False)
    assert "10 of 10 questions answered (5 of an interrupted run)" in second.output
    for wrong in ("2/2", "x", "1", "-1/2", "0/0"):
        with pytest.raises(VicurError, match="is not a shard"):
            CliRunner().invoke(app, [*arguments, "--shard", wrong], catch_exceptions=False)
