"""The real harness (``make benchmarks-e2e``): it builds our prompts, and gives our scores for our answers.

A judge double on loopback judges. Each test starts the harness, which takes about a minute.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.cues.openai_double import ReceivedRequest, Reply, openai_double
from tests.evaluation.benchmarks.judging import gold_of, half_right, judge_reply, sentence, write_responses
from vicur.config.evaluation import EvaluationConfig
from vicur.data import read_examples
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.aggregates import Outcome
from vicur.evaluation.benchmarks.answering import answer
from vicur.evaluation.benchmarks.content import KEY, content_of_parts
from vicur.evaluation.benchmarks.harness import DEFAULT_PYTHON, PYTHON_VARIABLE, WORKER, Harness
from vicur.evaluation.benchmarks.judge import Judge
from vicur.evaluation.benchmarks.registry import BENCHMARKS
from vicur.evaluation.benchmarks.scores import read_scores
from vicur.evaluation.benchmarks.scoring import score
from vicur.prompts import ImagePart, VideoPart
from vicur.prompts.parts import merged

PYTHON = Path(os.environ.get(PYTHON_VARIABLE) or DEFAULT_PYTHON).absolute()
PUBLIC = [name for name, each in BENCHMARKS.items() if each.harness]
pytestmark = [
    pytest.mark.benchmarks,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not PYTHON.is_file(), reason="the harness's environment is not there (make .venv-benchmarks)"),
]
HARNESS = Harness(PYTHON)


@pytest.mark.parametrize("name", PUBLIC)
def test_staged_prompts_are_those_of_the_harness(
    staged: dict[str, Path], sources: dict[str, Path], tmp_path: Path, name: str
) -> None:
    files = shutil.copytree(sources[name], tmp_path / "files")
    script = Path(__file__).with_name("harness_prompts.py")
    command = [PYTHON, script, files / BENCHMARKS[name].file, BENCHMARKS[name].harness, WORKER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (files / "prompts.json").is_file(), done.stderr[-2000:]
    built = json.loads((files / "prompts.json").read_text())
    for row in read_examples(staged[name]):
        images = [
            f"image {hashlib.sha256(Image.open(io.BytesIO(data)).convert('RGB').tobytes()).hexdigest()}"
            for data in row.images
        ]
        video = f"video {row.metadata[KEY]['columns'].get('video')}.mp4"
        ours = [
            video
            if isinstance(part, VideoPart)
            else images[part.index]
            if isinstance(part, ImagePart)
            else f"text {part}"
            for part in content_of_parts(row)
        ]
        # Texts without anything between them are one text for the chat template.
        theirs = merged(
            part[5:] if part.startswith("text ") else VideoPart() for part in built[row.metadata[KEY]["index"]]
        )
        seen = [part for part in built[row.metadata[KEY]["index"]] if not part.startswith("text ")]
        assert [part for part in ours if not part.startswith("text ")] == seen
        assert [part[5:] for part in ours if part.startswith("text ")] == [
            part for part in theirs if isinstance(part, str)
        ]


@pytest.mark.parametrize("name", PUBLIC)
def test_the_harness_gives_our_score_for_our_answers(staged: dict[str, Path], tmp_path: Path, name: str) -> None:
    responses, right = half_right(staged[name])
    columns = [row.metadata[KEY]["columns"] for row in read_examples(staged[name])]
    for place, (gold, ok) in enumerate(zip(gold_of(staged[name]), right, strict=True)):
        if name == "videomme":
            # The harness takes the first capital A to D, so that it does not ask its judge.
            responses[place] = f"({gold if ok else 'B'})"
        if name == "mmmu" and "A" not in columns[place]:
            # It offers the answer of an open question as A.
            responses[place] = sentence("A" if ok else "B")
        if name == "dynamath" and columns[place]["answer_type"] == "text":
            # It compares the whole response, unless that is the JSON that the prompt asks for.
            responses[place] = json.dumps({"solution": "I looked.", "short answer": gold if ok else "neither"})
    answers = write_responses(staged[name], responses, tmp_path / "answers")
    with openai_double(judge_reply) as double:
        record = score(staged[name], answers, tmp_path / "scores", Judge(double.url, "judge"), HARNESS, max_unclear=1)
    _, rows = read_scores(tmp_path / "scores")
    # Known: free-form texts and lists of MathVista can never be right.
    impossible = [
        name == "mathvista" and each["question_type"] == "free_form" and each["answer_type"] in ("text", "list")
        for each in columns
    ]
    expected = [ok and not never for ok, never in zip(right, impossible, strict=True)]
    assert {row.id: row.correct for row in rows} == {row.id: ok for row, ok in zip(rows, expected, strict=True)}
    assert record.harness == "ms-vlmeval 0.0.20"
    assert record.counts.judged > 0 or name == "videomme"
    outcomes = [Outcome(each, ok) for each, ok in zip(columns, expected, strict=True)]
    assert record.score == pytest.approx(BENCHMARKS[name].aggregate(outcomes))


def test_answers_of_a_tiny_student_are_scored(staged: dict[str, Path], reading_base: Path, tmp_path: Path) -> None:
    config = EvaluationConfig.model_validate(
        {"decoding": {"type": "sampled", "sampling": {"max_new_tokens": 8}}, "device": "cpu"}
    )
    answer(staged["dynamath"], reading_base, tmp_path / "answers", config, seed=0)
    with openai_double(judge_reply) as double:
        record = score(
            staged["dynamath"],
            tmp_path / "answers",
            tmp_path / "scores",
            Judge(double.url, "judge"),
            HARNESS,
            max_unclear=1,
        )
    assert record.counts.rows == 9
    assert record.counts.unfinished > 0


def test_a_judge_that_is_killed_gives_no_score(staged: dict[str, Path], tmp_path: Path) -> None:
    answers = write_responses(staged["mmmu"], [sentence("A")] * 9, tmp_path / "answers")

    def dies(request: ReceivedRequest) -> Reply:
        return judge_reply(request) if len(double.requests) < 5 else Reply(drop=True)

    with openai_double(dies) as double:
        judge = Judge(double.url, "judge", pause=0.1)
        with pytest.raises(VicurError, match="does not answer call"):
            score(staged["mmmu"], answers, tmp_path / "scores", judge, HARNESS, max_unclear=1)
    assert not (tmp_path / "scores").exists()


def test_a_guess_of_the_harness_gives_no_score(staged: dict[str, Path], tmp_path: Path) -> None:
    answers = write_responses(staged["mmmu"], [sentence("no idea")] * 9, tmp_path / "answers")

    def babbles(request: ReceivedRequest) -> Reply:
        return Reply("7") if "number 7" in str(request.body) else Reply("I would rather not say anything about it")

    with openai_double(babbles) as double, pytest.raises(VicurError, match=r"(?s)wrote no result.*RandomChoiceError"):
        score(staged["mmmu"], answers, tmp_path / "scores", Judge(double.url, "judge"), HARNESS, max_unclear=1)
    assert not (tmp_path / "scores").exists()
