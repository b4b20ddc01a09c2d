import hashlib

from tests.data.conftest import png
from vicur.data import Example
from vicur.data.fingerprint import FINGERPRINT_BYTES
from vicur.data.importing.facts import FACTS, answer_key, facts_of, facts_table, question_key


def _example(**changes: object) -> Example:
    fields = {"id": "a", "images": (png(5, 4),), "question": "What?", "answer": "12", "source": "s", "split": "test"}
    return Example(**{**fields, **changes})


def test_facts_describe_an_example_without_its_content() -> None:
    example = _example(choices=("7", "12"), answer="B", cue="Seen.", metadata={"group": "g", "kind": "k"})
    facts = facts_of(example, "rows.jsonl", 3, notes=["animated"])
    assert (facts.file, facts.row, facts.id, facts.split, facts.group, facts.kind) == (
        "rows.jsonl", 3, "a", "test", "g", "k",
    )  # fmt: skip
    [image] = facts.images
    assert (image.sha256, image.width, image.height) == (hashlib.sha256(png(5, 4)).digest(), 5, 4)
    assert (facts.choices, facts.question_length, facts.cue_length, facts.rationale_length) == (2, 8, 5, 0)
    assert facts.image_bytes == len(png(5, 4))


def test_a_table_of_facts_keeps_order_and_types() -> None:
    rows = [facts_of(_example(id=str(n), images=()), "f", n, named_split=False) for n in range(3)]
    table = facts_table(rows)
    assert table.schema.equals(FACTS)
    assert table["row"].to_pylist() == [0, 1, 2]
    assert table["split"].null_count == 3
    assert facts_table([]).schema.equals(FACTS)


def test_questions_that_differ_in_blanks_or_the_encoding_of_accents_have_one_key() -> None:
    assert question_key("What  is\nthe caf\u00e9? ") == question_key("What is the cafe\u0301?")
    assert question_key("What is A?") != question_key("What is a?")
    assert question_key("What is 2²?") != question_key("What is 22?")
    assert question_key("What?", ["a", "b"]) != question_key("What?", ["b", "a"])
    assert question_key("What?", ["ab"]) != question_key("What?", ["a", "b"])


def test_a_letter_and_the_text_of_its_choice_are_one_answer() -> None:
    answers = [facts_of(_example(choices=("7 cm", "East"), answer=a), "f", 1).answer for a in ("B", "East", "east ")]
    assert answers == ["east"] * 3
    long = "x" * 100
    assert len(answer_key(long)) < 90
    assert answer_key(long) != answer_key(long + "y")


def test_fingerprints_are_computed_on_demand() -> None:
    assert facts_of(_example(), "f", 1).images[0].fingerprint is None
    [image] = facts_of(_example(), "f", 1, fingerprints=True).images
    assert image.fingerprint is not None
    assert len(image.fingerprint) == FINGERPRINT_BYTES
