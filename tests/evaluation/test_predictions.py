from pathlib import Path

import pytest

from tests.evaluation.factory import BASE, OPSD, VICUR
from vicur.data.schema import Example
from vicur.errors import VicurError
from vicur.evaluation.metrics import measure
from vicur.evaluation.predictions import Prediction, check_response, read_predictions, write_predictions


def answered(correct: bool, evidence: bool | None = None, **fields: object) -> Prediction:
    """Return a prediction with defaults for all other fields."""
    known = {"example_id": "1", "split": "test", "group": "a", "kind": "sum", "question": "?", "answer": "12"}
    known |= {"response": "Answer: 12", "extracted": "12", "hint_leaks": 0, "words": 2, "tokens": 4, "finished": True}
    return Prediction.model_validate({**known, "correct": correct, "evidence_right": evidence, **fields})


def test_a_response_is_checked_for_answer_evidence_leakage_and_length(held_out: list[Example]) -> None:
    example = held_out[0]
    right = check_response(example, example.metadata["reference"], tokens=20, finished=True)
    assert (right.correct, right.evidence_right, right.hint_leaks, right.extracted) == (True, True, 0, example.answer)
    copied = check_response(example, f"The Hint says so. Answer: {example.answer}", tokens=9, finished=False)
    assert (copied.correct, copied.evidence_right, copied.hint_leaks, copied.words) == (True, False, 1, 6)


def test_predictions_round_trip_and_give_the_same_bytes(tmp_path: Path, held_out: list[Example]) -> None:
    rows = [BASE.predict(example) for example in held_out[:50]] + [answered(correct=False, extracted=None)]
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_predictions(rows, tmp_path / name)
        files.append((tmp_path / name / "predictions.parquet").read_bytes())
    assert read_predictions(tmp_path / "one") == rows
    assert files[0] == files[1]


def test_text_that_is_not_valid_unicode_can_be_stored(tmp_path: Path) -> None:
    write_predictions([answered(correct=False, response="\ud800 \0 <b>")], tmp_path)
    assert read_predictions(tmp_path)[0].response == "? \0 <b>"


@pytest.mark.parametrize("content", [None, b"not parquet"])
def test_a_missing_or_damaged_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "predictions.parquet").write_bytes(content)
    with pytest.raises(VicurError, match=r"predictions\.parquet"):
        read_predictions(tmp_path)


def test_metrics_are_broken_down_by_kind_and_evidence() -> None:
    rows = [
        answered(correct=True, evidence=True),
        answered(correct=True, evidence=False, group="b", hint_leaks=3),
        answered(correct=False, evidence=True, kind="largest", words=4),
        answered(correct=False, evidence=False, finished=False),
        answered(correct=True, kind="largest"),
    ]
    metrics = measure(rows)
    assert (metrics.examples, metrics.groups, metrics.accuracy) == (5, 2, 0.6)
    assert {kind: m.accuracy for kind, m in metrics.by_kind.items()} == {"sum": 2 / 3, "largest": 0.5}
    assert metrics.evidence is not None
    assert metrics.evidence.model_dump() == {
        "examples": 4,
        "right": 0.5,
        "both_right": 0.25,
        "answer_only": 0.25,
        "evidence_only": 0.25,
        "both_wrong": 0.25,
    }
    assert (metrics.hint_leakage.samples, metrics.hint_leakage.occurrences) == (1, 3)
    assert (metrics.mean_words, metrics.unfinished_share) == (2.4, 0.2)


def test_examples_without_evidence_have_no_evidence_metrics() -> None:
    assert measure([answered(correct=True)]).evidence is None


def test_simulated_readers_are_as_accurate_as_their_misreading_allows(held_out: list[Example]) -> None:
    accuracy = {r.method: measure([r.predict(e) for e in held_out]).accuracy for r in (BASE, OPSD, VICUR)}
    assert 0.6 < accuracy["base"] < 0.8
    assert accuracy["vicur"] > accuracy["base"] + 0.05


def test_more_than_one_response_in_twenty_cut_off_is_many() -> None:
    finished = [answered(correct=True)] * 19
    assert not measure([*finished, answered(correct=False, finished=False)]).many_cut_off
    assert measure([*finished[1:], *[answered(correct=False, finished=False)] * 2]).many_cut_off


def test_questions_about_the_same_images_are_one_group() -> None:
    fields = {"question": "?", "answer": "1", "source": "test", "split": "test"}
    one, two = (Example(id=name, images=(b"a", b"b"), **fields) for name in ("1", "2"))
    assert one.group == two.group
    assert Example(id="3", images=(b"a",), **fields).group != one.group
    assert Example(id="4", images=(b"ab",), **fields).group != one.group
    assert Example(id="5", images=(), **fields).group == "5"
    assert Example(id="6", images=(b"a", b"b"), metadata={"group": "g"}, **fields).group == "g"
