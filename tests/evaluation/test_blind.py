"""Blind accuracy: questions asked without their image, or with another one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.evaluation.conftest import context
from vicur.config.evaluation import EvaluationConfig
from vicur.config.recovery import CueRecoverySettings
from vicur.config.run import RunConfig
from vicur.data.schema import Example
from vicur.evaluation import evaluate
from vicur.evaluation.asking import ask
from vicur.evaluation.journal import Journal
from vicur.evaluation.metrics import read_metrics
from vicur.evaluation.predictions import read_predictions
from vicur.evaluation.prompts import prompts_for
from vicur.evaluation.rounds import rounds_of
from vicur.evaluation.swapping import swapped_rows, with_images_of
from vicur.modeling import load_model, with_cue_recovery
from vicur.modeling.chat import Chat
from vicur.modeling.generation import Response, generate
from vicur.modeling.student import cue_recovery_off
from vicur.storage.folders import tree_sha256

BLIND = EvaluationConfig.model_validate(
    {
        "splits": ["test"],
        "decoding": {"type": "greedy", "max_new_tokens": 6},
        "max_examples": 9,
        "batch_size": 4,
        "attention_samples": 0,
        "blind": {"views": ["no_image", "other_image"], "max_examples": 6},
    }
)


def example(number: int, group: str, images: int = 1, picture: str = "") -> Example:
    shown = picture or f"{number}"
    return Example(
        id=f"e{number}",
        images=tuple(f"{shown}/{n}".encode() for n in range(images)),
        question="How many?",
        answer=str(number),
        source="test",
        split="test",
        metadata={"group": group},
    )


@given(
    groups=st.lists(st.sampled_from("abcde"), min_size=1, max_size=25),
    pictures=st.lists(st.integers(1, 2), min_size=25, max_size=25),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_no_question_gets_images_of_its_own_scene(groups: list[str], pictures: list[int], seed: int) -> None:
    questions = [example(n, group, pictures[n]) for n, group in enumerate(groups)]
    swapped = swapped_rows(questions, range(len(questions)), seed, "test")
    for row, other in swapped.items():
        assert questions[row].group != questions[other].group
        assert len(questions[row].images) == len(questions[other].images)
    for row in set(range(len(questions))) - set(swapped):
        like = [q for q in questions if len(q.images) == len(questions[row].images)]
        assert {q.group for q in like} == {questions[row].group}
    assert swapped == swapped_rows(questions, range(len(questions)), seed, "test")


def test_images_are_permuted_if_no_group_is_larger_than_the_others() -> None:
    questions = [example(n, "abc"[n % 3]) for n in range(12)]
    swapped = swapped_rows(questions, range(12), 0, "test")
    assert set(Counter(swapped.values()).values()) == {1}
    assert swapped != swapped_rows(questions, range(12), 1, "test")


def test_the_same_picture_in_another_group_is_not_another_picture() -> None:
    questions = [example(0, "a", picture="x"), example(1, "b", picture="x"), example(2, "c", picture="y")]
    swapped = swapped_rows(questions, range(3), 0, "test")
    assert swapped[0] == swapped[1] == 2
    assert swapped[2] in (0, 1)


def test_a_question_with_other_images_keeps_its_answer_and_its_group(held_out: list[Example]) -> None:
    first, second = held_out[0], held_out[-1]
    swapped = with_images_of(first, second)
    assert swapped.images == second.images
    assert (swapped.id, swapped.question, swapped.answer, swapped.group) == (
        first.id,
        first.question,
        first.answer,
        first.group,
    )


def test_a_prompt_without_images_has_the_text_alone(base_model: Path, held_out: list[Example]) -> None:
    chat = Chat.load(base_model)
    marked = held_out[0].model_copy(update={"question": "Look at <image> again. How many?"})
    [blind] = prompts_for(chat, [marked], images=False)
    assert chat.image_id not in blind.ids
    assert blind.pixels == ()
    assert blind.ids == chat.prompt(("Look at  again. How many?",), ()).ids


@pytest.fixture(scope="module")
def blind(dataset: Path, base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("blind")
    (folder / "output").mkdir()
    summary = evaluate(BLIND, {"dataset": dataset, "model": base_model}, folder / "output", context(folder))
    assert summary.metrics["test/blind/no_image/accuracy"] == pytest.approx(
        read_metrics(folder / "output").splits["test"].blind["no_image"].accuracy
    )
    return folder / "output"


def test_blind_accuracy_is_that_of_the_stored_responses(blind: Path) -> None:
    rows = pq.read_table(blind / "blind.parquet").to_pylist()
    assert Counter(row["view"] for row in rows) == {"no_image": 6, "other_image": 6}
    sighted = {p.example_id: p.correct for p in read_predictions(blind)}
    for view, metrics in read_metrics(blind).splits["test"].blind.items():
        of_view = [row for row in rows if row["view"] == view]
        assert metrics.examples == 6
        assert metrics.accuracy == sum(row["correct"] for row in of_view) / 6
        assert metrics.sighted_accuracy == sum(sighted[row["example_id"]] for row in of_view) / 6
        assert metrics.image_gain.mean == pytest.approx(metrics.sighted_accuracy - metrics.accuracy)


def test_blind_rounds_change_nothing_else(blind: Path, dataset: Path, base_model: Path, tmp_path: Path) -> None:
    plain = BLIND.model_copy(update={"blind": EvaluationConfig().blind})
    (tmp_path / "output").mkdir()
    evaluate(plain, {"dataset": dataset, "model": base_model}, tmp_path / "output", context(tmp_path))
    assert read_predictions(tmp_path / "output") == read_predictions(blind)
    assert "blind" not in (tmp_path / "output" / "metrics.json").read_text()
    assert not (tmp_path / "output" / "blind.parquet").exists()


def test_blind_settings_are_part_of_the_identity_only_if_something_is_measured() -> None:
    assert "blind" not in EvaluationConfig().identity()
    assert "latency_examples" not in EvaluationConfig().identity()
    assert BLIND.identity()["blind"]["views"] == ["no_image", "other_image"]


def test_an_interrupted_evaluation_continues_behind_its_last_batch(
    blind: Path, dataset: Path, base_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    add = Journal.add

    def interrupted(self: Journal, responses: dict[int, Response]) -> None:
        add(self, responses)
        batches.append(len(responses))
        if len(batches) == 4:
            raise KeyboardInterrupt

    inputs = {"dataset": dataset, "model": base_model}
    (tmp_path / "output").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(BLIND, inputs, tmp_path / "output", context(tmp_path))
    # A kill may also cut off a line.
    journal = sorted((tmp_path / "answers").iterdir())[0]
    journal.write_bytes(journal.read_bytes()[:-3])
    asked: list[int] = []
    monkeypatch.setattr(Journal, "add", lambda self, some: (asked.append(len(some)), add(self, some))[1])
    evaluate(BLIND, inputs, tmp_path / "output", context(tmp_path))
    assert tree_sha256(tmp_path / "output") == tree_sha256(blind)
    assert sum(asked) == 9 + 6 + 6 - sum(batches) + 1


def test_a_journal_ignores_what_is_behind_a_damaged_line(tmp_path: Path) -> None:
    journal, file = Journal(tmp_path / "part.jsonl"), tmp_path / "part.0.jsonl"
    journal.add({3: Response((1, 2), "\ud800 text\n", (0.0, 0.0), True), 0: Response((1,), "", (0.0,), False)})
    file.write_bytes(file.read_bytes() + b'[1, "half')
    read = journal.read()
    assert (read[3].text, read[3].tokens, read[3].finished) == ("\ud800 text\n", 2, True)
    assert (read[0].text, read[0].tokens, read[0].finished) == ("", 1, False)
    assert 1 not in read
    journal.add({1: Response((1,), "again", (0.0,), True)})
    assert set(journal.read()) == {0, 1, 3}
    assert [json.loads(line)[0] for line in file.read_text().splitlines()] == [3, 0, 1]


def test_questions_without_images_are_not_asked_again(base_model: Path, tmp_path: Path) -> None:
    texts = [example(n, f"g{n}", images=0) for n in range(3)]
    assert [each.view for each in rounds_of({"test": texts}, BLIND, 0)] == [None]
    model, chat = load_model(base_model), Chat.load(base_model)
    [answers] = ask(model, chat, list(rounds_of({"test": texts}, BLIND, 0)), BLIND, 512, 0, tmp_path, lambda *_: None)
    assert len(answers) == 3


def test_a_student_with_the_module_answers_without_images(base_model: Path, held_out: list[Example]) -> None:
    model, chat = with_cue_recovery(load_model(base_model), CueRecoverySettings(interval=2), 0), Chat.load(base_model)
    with torch.no_grad():
        for module in model.model.cue_recovery.layers.values():
            module.o_proj.weight.normal_(generator=torch.Generator().manual_seed(0))
    prompts = prompts_for(chat, held_out[:3], images=False)
    responses = generate(model, chat, prompts, BLIND.sampling, seed=0)
    # There is nothing to recover, so the student computes what its backbone computes.
    with cue_recovery_off(model):
        assert generate(model, chat, prompts, BLIND.sampling, seed=0) == responses


def test_latency_is_that_of_single_responses(dataset: Path, base_model: Path, tmp_path: Path) -> None:
    timed = BLIND.model_copy(update={"blind": EvaluationConfig().blind, "latency_examples": 3, "max_examples": 4})
    (tmp_path / "output").mkdir()
    summary = evaluate(timed, {"dataset": dataset, "model": base_model}, tmp_path / "output", context(tmp_path))
    latency = read_metrics(tmp_path / "output").latency
    assert latency is not None
    assert latency.examples == 3
    assert 0 < latency.median_seconds <= latency.p95_seconds
    assert latency.device.startswith("CPU, ") or torch.cuda.is_available()
    assert summary.metrics["latency/p95_seconds"] == latency.p95_seconds


@pytest.mark.parametrize(
    ("limits", "evaluation", "missing"),
    [
        ({"latency/p95_seconds": {"max": 1}}, {}, "evaluation.latency_examples"),
        ({"test/blind/no_image/accuracy": {"max": 0.5}}, {}, "evaluation.blind.views"),
        ({"test/blind/no_image/accuracy": {"max": 0.5}}, {"blind": {"views": ["other_image"]}}, "no_image"),
        ({"test/blind/*/accuracy": {"max": 0.5}}, {"blind": {"views": ["other_image"]}}, ""),
        ({"latency/median_seconds": {"max": 1}}, {"latency_examples": 5}, ""),
        ({"test/accuracy": {"min": 0.5}}, {}, ""),
    ],
)
def test_a_limit_on_what_is_not_measured_is_refused_before_the_run(
    limits: dict[str, object], evaluation: dict[str, object], missing: str
) -> None:
    settings = {"registry": {"gate": {"limits": limits}}, "evaluation": evaluation}
    if missing:
        with pytest.raises(ValidationError, match=missing):
            RunConfig.model_validate(settings)
    else:
        RunConfig.model_validate(settings)
