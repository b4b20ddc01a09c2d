from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from tests.data.hygiene.pictures import drawing, encoded, photos, saved, scenes
from vicur.data import Example
from vicur.data.hygiene import Finding, Findings, Links, examine, image_columns, link_images
from vicur.data.hygiene.dropped import DROPPED
from vicur.data.importing.facts import facts_of, facts_table

PHOTO, OTHER, COPY = encoded(photos()[0]), encoded(photos()[4]), encoded(photos()[0], "JPEG", quality=80)


def _facts(rows: Sequence[dict[str, Any]], *, fingerprints: bool = True) -> pa.Table:
    default = {"images": (PHOTO,), "question": "How many?", "answer": "12", "source": "s"}
    examples = [Example(**{"id": str(n), **default, **row}) for n, row in enumerate(rows)]
    table = facts_table([facts_of(e, "f", n, fingerprints=fingerprints) for n, e in enumerate(examples, start=1)])
    # As after duplicate ids were dropped: positions have gaps.
    return table.add_column(0, "position", pa.array([10 * n for n in range(len(examples))], type=pa.int64()))


def _links(facts: pa.Table) -> Links:
    return link_images(facts["group"], image_columns(facts["images"].chunks))


def _examine(rows: Sequence[dict[str, Any]], duplicates: Any = "drop") -> tuple[pa.Table, Findings]:
    facts = _facts(rows)
    return examine(facts, _links(facts), duplicates)


def _finding(findings: Findings, rule: str) -> Finding:
    return next(each for each in findings.findings if each.rule == rule)


@pytest.mark.parametrize("held_out", ["validation", "test", "ood"])
@pytest.mark.parametrize("training", ["distill", "base"])
def test_a_training_example_with_a_held_out_question_is_dropped(training: str, held_out: str) -> None:
    dropped, findings = _examine([{"split": training}, {"split": held_out}, {"split": training, "question": "Why?"}])
    assert dropped.schema.equals(DROPPED)
    assert dropped["position"].to_pylist() == [0]
    assert f"'1' of the split {held_out}" in dropped["reason"][0].as_py()
    finding = _finding(findings, "leaked")
    assert (finding.count, finding.dropped, finding.instances[0].ids) == (1, True, ("0", "1"))


def test_a_compressed_copy_with_the_same_answer_is_dropped() -> None:
    dropped, findings = _examine([{"split": "distill", "images": (COPY,)}, {"split": "test"}])
    assert "nearly identical images" in dropped["reason"][0].as_py()
    assert (findings.images, findings.near_copies) == (2, 2)


def test_a_similar_drawing_with_another_answer_is_kept_and_reported() -> None:
    first, second = encoded(drawing(1, label=37)), encoded(drawing(1, label=31))
    rows = [
        {"split": "distill", "images": (first,), "answer": "37"},
        {"split": "test", "images": (second,), "answer": "31"},
    ]
    dropped, findings = _examine(rows)
    assert dropped.num_rows == 0
    assert _finding(findings, "similar_question").instances[0].detail == "37 | 31"


def test_scenes_that_differ_in_one_digit_are_kept() -> None:
    pairs = scenes("distill", 60)
    rows = [
        {"split": split, "images": (encoded(image),)}
        for a, b, _ in pairs
        for split, image in (("distill", a), ("test", b))
    ]
    dropped, findings = _examine(rows)
    assert (dropped.num_rows, findings.findings) == (0, ())


def test_an_identical_image_with_another_answer_is_dropped_and_contradicts() -> None:
    dropped, findings = _examine([{"split": "distill", "answer": "13"}, {"split": "test"}])
    assert dropped.num_rows == 1
    assert _finding(findings, "contradiction").instances[0].detail == "13 | 12"


@pytest.mark.parametrize(
    ("answers", "choices"), [(("0.5", "1/2"), ()), (("Yes", "yes"), ()), (("B", "5 cm"), ("4 cm", "5 cm"))]
)
def test_equal_answers_do_not_contradict(answers: tuple[str, str], choices: tuple[str, ...]) -> None:
    _, findings = _examine([{"split": "test", "answer": answer, "choices": choices} for answer in answers])
    assert findings.count("contradiction") == 0


def test_other_questions_about_a_held_out_image_are_reported() -> None:
    rows = [{"split": "distill", "question": "Why?"}, {"split": "test"}, {"split": "distill", "images": (OTHER,)}]
    dropped, findings = _examine(rows)
    assert dropped.num_rows == 0
    assert _finding(findings, "shared_image").instances[0].ids == ("0", "1")


def test_repeated_questions_of_a_split_are_reported() -> None:
    dropped, findings = _examine([{"split": "distill"}] * 3 + [{"split": "distill", "question": "Why?"}])
    assert dropped.num_rows == 0
    assert _finding(findings, "repeated").instances[0].ids == ("0", "1", "2")


def test_the_order_of_several_images_counts() -> None:
    rows = [{"split": "distill", "images": (PHOTO, OTHER)}, {"split": "test", "images": (OTHER, PHOTO)}]
    dropped, findings = _examine(rows)
    assert dropped.num_rows == 0
    assert findings.count("shared_image") == 1


def test_questions_without_an_image_are_compared_by_their_text() -> None:
    dropped, _ = _examine([{"split": "distill", "images": ()}, {"split": "test", "images": ()}, {"split": "distill"}])
    assert dropped["position"].to_pylist() == [0]


def test_choices_are_part_of_the_question() -> None:
    rows = [{"split": s, "choices": c, "answer": "A"} for s, c in (("distill", ("12", "13")), ("test", ("12", "14")))]
    assert _examine(rows)[0].num_rows == 0


def test_report_keeps_all_and_off_looks_for_nothing() -> None:
    rows = [{"split": "distill"}, {"split": "test"}]
    dropped, findings = _examine(rows, "report")
    assert (dropped.num_rows, findings.count("leaked"), _finding(findings, "leaked").dropped) == (0, 1, False)
    dropped, findings = _examine(rows, "off")
    assert (dropped.num_rows, findings.findings) == (0, ())
    assert _examine([])[0].num_rows == 0


def test_units_join_examples_of_one_image_or_group() -> None:
    saved_again = encoded(saved(photos()[4], quality=85))
    rows = [
        {"split": "test", "images": (PHOTO,)},
        {"split": "test", "images": (OTHER,)},
        {"split": "test", "images": (COPY, saved_again)},
        {"split": "test", "images": (encoded(photos()[8]),), "metadata": {"group": "g"}},
        {"split": "test", "images": (), "metadata": {"group": "g"}},
        {"split": "test", "images": ()},
    ]
    unit = _links(_facts(rows)).unit
    assert unit[0] == unit[1] == unit[2]
    assert unit[3] == unit[4]
    assert len(set(unit.tolist())) == 3
    # Without fingerprints, only identical images join.
    assert len(set(_links(_facts(rows, fingerprints=False)).unit.tolist())) == 5


def test_chunks_and_slices_of_a_table_give_the_same_result() -> None:
    rows = [{"split": "distill"}, {"split": "test"}, {"split": "ood", "images": (OTHER, COPY)}, {"split": "base"}]
    facts = _facts(rows)
    parts = pa.concat_tables([facts.slice(n, 1) for n in range(len(rows))])
    whole, split = (examine(table, _links(table), "drop") for table in (facts, parts))
    assert whole[0].equals(split[0])
    assert whole[1] == split[1]
