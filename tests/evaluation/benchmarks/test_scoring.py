"""Scoring: by rules, by a harness with a judge, and every way in which a score must not come about."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cues.openai_double import OpenAIDouble, ReceivedRequest, Reply, openai_double
from tests.evaluation.benchmarks.judging import gold_of, half_right, judge_reply, sentence, write_responses
from vicur.cli import app
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.answers import read_answers, write_answers
from vicur.evaluation.benchmarks.harness import Harness
from vicur.evaluation.benchmarks.judge import Judge
from vicur.evaluation.benchmarks.registry import BENCHMARKS
from vicur.evaluation.benchmarks.scores import read_scores
from vicur.evaluation.benchmarks.scoring import score

STAND_IN = Path(__file__).with_name("stand_in_worker.py")


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    worker = tmp_path / "worker" / "worker.py"
    worker.parent.mkdir()
    shutil.copyfile(STAND_IN, worker)
    return Harness(Path(sys.executable), worker)


@pytest.fixture
def double() -> Iterator[OpenAIDouble]:
    with openai_double(judge_reply) as running:
        yield running


def judge_of(double: OpenAIDouble) -> Judge:
    return Judge(double.url, "judge-7b", pause=0.01, tries=2)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rules_find_the_right_answers_of_every_benchmark(staged: dict[str, Path], tmp_path: Path, name: str) -> None:
    dataset = staged[name]
    golds = gold_of(dataset)
    right = [number % 2 == 0 for number in range(len(golds))]
    responses = [f"Answer: {gold if ok else 'none of them'}" for gold, ok in zip(golds, right, strict=True)]
    answers = write_responses(dataset, responses, tmp_path / "answers")
    record = score(dataset, answers, tmp_path / "scores", None, None)
    _, rows = read_scores(tmp_path / "scores")
    assert [row.rule_correct for row in rows] == right
    assert record.score == record.rule_score
    if name != "wemath":
        assert record.score == pytest.approx(sum(right) / len(right))
    assert (record.harness, record.judge, record.counts.judged) == (None, None, 0)
    assert sum(record.by_kind.values()) > 0


def test_the_json_that_dynamath_asks_for_is_read(staged: dict[str, Path], tmp_path: Path) -> None:
    responses = [f'{{"solution": "I see 4 bars.", "short answer": "{gold}"}}' for gold in gold_of(staged["dynamath"])]
    # Within a thousandth, and beyond.
    responses[0], responses[1] = responses[0].replace('"1.5"', '"1.5009"'), responses[1].replace('"2.0"', "2.002")
    answers = write_responses(staged["dynamath"], responses, tmp_path / "answers")
    assert score(staged["dynamath"], answers, tmp_path / "scores", None, None).score == pytest.approx(8 / 9)


def test_verdicts_of_the_judge_make_the_score(
    staged: dict[str, Path], tmp_path: Path, harness: Harness, double: OpenAIDouble
) -> None:
    responses, right = half_right(staged["mathvista"])
    answers = write_responses(staged["mathvista"], responses, tmp_path / "answers")
    record = score(staged["mathvista"], answers, tmp_path / "scores", judge_of(double), harness)
    _, rows = read_scores(tmp_path / "scores")
    assert [row.correct for row in rows] == right
    assert record.score == pytest.approx(sum(right) / 10)
    assert (record.counts.rows, record.counts.judged, record.counts.judge_calls) == (10, 10, 10)
    assert record.judge is not None
    assert (record.judge.model, record.judge.served) == ("judge-7b", "judge-7b")
    # A probe before, one call a row, a probe behind; the judge's own name in each.
    assert len(double.requests) == 12
    assert {request.body["model"] for request in double.requests} == {"judge-7b"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["answers", "scores", "worker"]


def test_the_judge_and_its_weights_are_part_of_the_result(
    staged: dict[str, Path], tmp_path: Path, harness: Harness, double: OpenAIDouble
) -> None:
    answers = write_responses(staged["mmmu"], half_right(staged["mmmu"])[0], tmp_path / "answers")
    hashes = set()
    for judge in (
        judge_of(double),
        replace(judge_of(double), revision="abc"),
        replace(judge_of(double), model="other"),
    ):
        record = score(staged["mmmu"], answers, tmp_path / "scores", judge, harness, max_unclear=1)
        assert record.judge is not None
        hashes.add(record.judge.hash)
    assert len(hashes) == 3


def test_a_judge_that_dies_in_the_middle_lowers_no_score(
    staged: dict[str, Path], tmp_path: Path, harness: Harness
) -> None:
    answers = write_responses(staged["mathvista"], half_right(staged["mathvista"])[0], tmp_path / "answers")
    asked: list[ReceivedRequest] = []

    def dies(request: ReceivedRequest) -> Reply:
        asked.append(request)
        return Reply("down", status=503) if len(asked) > 5 else judge_reply(request)

    with openai_double(dies) as double:
        judge = judge_of(double)
        with pytest.raises(
            VicurError, match=r"the judge does not answer call 5: HTTP status 503. Nothing was scored"
        ) as error:
            score(staged["mathvista"], answers, tmp_path / "scores", judge, harness)
    assert error.value.retryable
    assert not (tmp_path / "scores").exists()
    # With the judge back, only what it has not answered is asked.
    with openai_double(judge_reply) as back:
        record = score(staged["mathvista"], answers, tmp_path / "scores", replace(judge, url=back.url), harness)
        assert len(back.requests) == 2 + 10 - 4
    assert record.score == pytest.approx(0.7)


def test_a_judge_that_is_killed_lowers_no_score(staged: dict[str, Path], tmp_path: Path, harness: Harness) -> None:
    answers = write_responses(staged["mathvista"], half_right(staged["mathvista"])[0], tmp_path / "answers")
    with openai_double(judge_reply) as double:
        judge = judge_of(double)

        def kill_then(request: ReceivedRequest) -> Reply:
            if len(double.requests) == 4:
                # The process is gone: its socket is closed.
                double.socket.close()
                return Reply(drop=True)
            return judge_reply(request)

        double.reply_to = kill_then
        with pytest.raises(VicurError, match=r"the judge does not answer call 3: .*Nothing was scored"):
            score(staged["mathvista"], answers, tmp_path / "scores", judge, harness)
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (lambda _: Reply("down", status=500), "does not answer a probe: HTTP status 500"),
        (lambda _: Reply("I am a teapot"), "answers the probe .* with 'I am a teapot'"),
        (lambda _: Reply(None), "does not answer a probe: a reply without text"),
        (lambda _: Reply("unknown model", status=404), "does not answer a probe: HTTP status 404"),
        (lambda _: Reply(raw=b"not JSON"), "does not answer a probe"),
    ],
)
def test_a_judge_must_answer_a_probe_first(
    staged: dict[str, Path], tmp_path: Path, harness: Harness, reply: object, message: str
) -> None:
    answers = write_responses(staged["mathvista"], half_right(staged["mathvista"])[0], tmp_path / "answers")
    with openai_double(reply) as double, pytest.raises(VicurError, match=message):  # type: ignore[arg-type]
        score(staged["mathvista"], answers, tmp_path / "scores", judge_of(double), harness)
    assert not (tmp_path / "scores").exists()


def test_a_judge_must_answer_a_probe_behind_too(staged: dict[str, Path], tmp_path: Path, harness: Harness) -> None:
    answers = write_responses(staged["mathvista"], half_right(staged["mathvista"])[0], tmp_path / "answers")

    def last_fails(request: ReceivedRequest) -> Reply:
        probes = "number 7" in str(request.body) and request.number > 1
        return Reply("down", status=503) if probes else judge_reply(request)

    with openai_double(last_fails) as double, pytest.raises(VicurError, match="does not answer a probe"):
        score(staged["mathvista"], answers, tmp_path / "scores", judge_of(double), harness)
    assert not (tmp_path / "scores").exists()


def test_a_judge_that_becomes_another_is_refused(staged: dict[str, Path], tmp_path: Path, harness: Harness) -> None:
    answers = write_responses(staged["mathvista"], half_right(staged["mathvista"])[0], tmp_path / "answers")

    def changes(request: ReceivedRequest) -> Reply:
        reply = judge_reply(request)
        return reply if len(double.requests) < 4 else replace(reply, raw=reply.body("another-13b"))

    with (
        openai_double(changes) as double,
        pytest.raises(VicurError, match=r"judge is another-13b now; it was judge-7b"),
    ):
        score(staged["mathvista"], answers, tmp_path / "scores", judge_of(double), harness)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("crash", r"wrote no result \(exit status 1\)(.|\n)*the data set cannot be read"),
        ("silent", r"wrote no result \(exit status 0\)"),
        ("incomplete", "gave 9 verdicts for 10 rows; row 9 has none"),
        ("shifted", "verdicts give 70.0 %, but it prints 12.3 %"),
        ("guess", "gave no verdict on 1 rows: 2. The harness would count them as wrong"),
    ],
)
def test_a_harness_that_fails_gives_no_score(
    staged: dict[str, Path], tmp_path: Path, harness: Harness, double: OpenAIDouble, behaviour: str, message: str
) -> None:
    (harness.worker.parent / "behave").write_text(behaviour)
    answers = write_responses(staged["mathvista"], half_right(staged["mathvista"])[0], tmp_path / "answers")
    with pytest.raises(VicurError, match=message):
        score(staged["mathvista"], answers, tmp_path / "scores", judge_of(double), harness)
    assert not (tmp_path / "scores").exists()


def test_a_missing_row_gives_no_score(staged: dict[str, Path], tmp_path: Path) -> None:
    answers = write_responses(staged["mmmu"], [sentence("A")] * 9, tmp_path / "answers")
    record, rows = read_answers(answers)
    for changed, message in ((rows[1:], "misses 1 of 9 questions: mmmu-0"), ([*rows, rows[0]], "has rows twice")):
        write_answers(changed, record, answers)
        with pytest.raises(VicurError, match=message):
            score(staged["mmmu"], answers, tmp_path / "scores", None, None)
    write_answers(rows, record.model_copy(update={"dataset": "0" * 64}), answers)
    with pytest.raises(VicurError, match="are answers to another dataset"):
        score(staged["mmmu"], answers, tmp_path / "scores", None, None)
    assert not (tmp_path / "scores").exists()


def test_many_unclear_responses_give_no_score(staged: dict[str, Path], tmp_path: Path) -> None:
    long = write_responses(staged["mmmu"], ["and so on"] * 9, tmp_path / "long", finished=False)
    with pytest.raises(VicurError, match=r"9 of 9 responses are unclear: 9 cut off, 0 not asked.*0 without an answer"):
        score(staged["mmmu"], long, tmp_path / "scores", None, None)
    texts = [
        *(f"Answer: {gold}" for gold in gold_of(staged["mmmu"])[:7]),
        *["I cannot say. I looked at it for long."] * 2,
    ]
    answers = write_responses(staged["mmmu"], texts, tmp_path / "answers")
    with pytest.raises(VicurError, match=r"2 of 9 responses are unclear: 0 cut off, .*2 without an answer"):
        score(staged["mmmu"], answers, tmp_path / "scores", None, None)
    record = score(staged["mmmu"], answers, tmp_path / "scores", None, None, max_unclear=0.25)
    assert (record.counts.unparsed, record.score) == (2, pytest.approx(7 / 9))


def test_the_command_scores_by_rules_and_needs_a_name_for_a_judge(staged: dict[str, Path], tmp_path: Path) -> None:
    texts = [f"Answer: {gold}" for gold in gold_of(staged["wemath"])]
    answers = write_responses(staged["wemath"], texts, tmp_path / "answers")
    arguments = ["benchmarks", "score", str(staged["wemath"]), str(answers), "-o", str(tmp_path / "scores"), "--judge"]
    done = CliRunner().invoke(app, [*arguments, "none"], catch_exceptions=False)
    assert "wemath: 100.0 % (rules); by rules 100.0 %" in done.output
    assert "10 rows: 0 judged, 0 without an answer, 0 cut off, 0 not asked" in done.output
    for extra, message in (
        (["http://127.0.0.1:9/v1"], "--judge-model: is not given"),
        (["ftp://judge", "--judge-model", "x"], "--judge: is not the address of an API"),
        (["http://j/v1", "--judge-model", "x", "--harness", "no/python"], "no/python: is not there"),
    ):
        with pytest.raises(VicurError) as error:
            CliRunner().invoke(app, [*arguments, *extra], catch_exceptions=False)
        assert message in str(error.value)
