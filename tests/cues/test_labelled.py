"""The audit on labelled cues of many domains and styles.

``development.txt`` was written before the rules. ``check.txt`` was written after them, in other words and about other questions: at
first, the rules found 78 % of its answer leaks and 79 % of its solutions, and flagged 5 of 67 clean cues. They were then generalized with
both halves in view.

``other.jsonl`` has 295 rows by another author. Most of its images have no known text, which makes evidence hard to tell from answers. Its
first 208 rows were written before that author saw the rules, which found 46 % of the answer leaks and 91 % of the solutions and flagged 4
of 92 clean cues. The other 87 were written after a first revision in view of those: 73 % and 80 %, and 1 of 34 clean cues. The bars for
this part are what holds after a second revision in view of all rows.

``third.txt`` (191 rows) and ``fourth.txt`` (145 rows) are in the style of multimodal models. Their author had read little of the rules
before ``third.txt``, and revised them before ``fourth.txt``; some labels were made consistent after the first results. At first, the rules
found 82 % of the answer leaks (precision 100 %) and 96 % of the solutions (precision 90 %) of ``third.txt`` and flagged 1 of 41 clean cues.
After a revision in view of it, they found 78 % of the answer leaks and 88 % of the solutions (94 %) of ``fourth.txt`` and flagged none of
30 clean cues. They were then generalized with both in view.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cues.labelled import FOLDER, rows
from vicur.cli import app
from vicur.cues.findings import examine
from vicur.cues.labelled import Agreement, PosedCue, compare, read_posed
from vicur.errors import VicurError

OTHER_BARS = {
    "answer_leak": (0.95, 0.8),
    "solution_leak": (0.95, 0.9),
    "injected": (0.95, 0.95),
    "unusable": (0.95, 0.95),
}
"""Precision and recall on ``other.jsonl``. Recall of answer leaks is short of the 0.9 of the other parts."""


def agreement(name: str, folder: Path) -> Agreement:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(name)), encoding="utf-8")
    return compare(read_posed(path, labelled=True))


@pytest.mark.parametrize("name", ["development", "check", "third", "fourth"])
def test_the_audit_agrees_with_labelled_cues(name: str, tmp_path: Path) -> None:
    found = agreement(name, tmp_path)
    assert found.rows > 140
    for label in ("answer_leak", "solution_leak", "injected", "unusable"):
        counts = found.labels[label]
        assert counts.precision is not None
        assert counts.recall is not None
        assert counts.precision >= 0.95, label
        assert counts.recall >= (0.9 if "leak" in label else 0.95), label
    assert found.clean_flagged <= 0.02 * found.clean


def test_the_audit_agrees_with_the_labels_of_another_author() -> None:
    found = compare(read_posed(FOLDER / "other.jsonl", labelled=True))
    assert found.rows == 295
    for label, (precision, recall) in OTHER_BARS.items():
        counts = found.labels[label]
        assert counts.precision is not None
        assert counts.recall is not None
        assert counts.precision >= precision, label
        assert counts.recall >= recall, label
    assert found.clean_flagged <= 0.02 * found.clean


def test_all_labels_and_domains_are_present() -> None:
    everything = rows("development") + rows("check")
    assert len(everything) >= 500
    assert len({row["source"] for row in everything}) >= 20
    for label in ("answer_leak", "solution_leak", "ungrounded", "injected", "unusable"):
        assert sum(row[label] for row in everything) >= 15, label


@pytest.mark.parametrize(
    "unit",
    [
        "x = ",
        "the sum of ",
        "((((",
        "\\frac{1",
        "1 + ",
        "not A, ",
        "so the ",
        "Ann: 31, ",
        "is larger than ",
        "a b c ",
        "\u200b",
        "you must ",
        "12 cm ",
    ],
)
def test_examining_hostile_text_takes_little_time(unit: str) -> None:
    row = PosedCue(
        1, "Which is larger, the sum of 1 or 12 cm?", "12 cm", ("12 cm", "13"), "", {"image_text": "x = 12 " * 300}
    )
    started = time.process_time()
    examine(unit * (50_000 // len(unit)), row)
    assert time.process_time() - started < 2


def test_the_command_prints_and_writes_precision_and_recall(tmp_path: Path) -> None:
    path, out = tmp_path / "labelled.jsonl", tmp_path / "audit.json"
    cues = [("x = 13", True), ("The legs are labeled 5 and 12.", False), ("AC has the label x.", True)]
    posed = {"question": "Find x.", "answer": "13", "image_text": "5 12 x"}
    path.write_text("".join(json.dumps(posed | {"cue": cue, "answer_leak": leaks}) + "\n" for cue, leaks in cues))
    result = CliRunner().invoke(app, ["cues", "audit", "--labels", str(path), "--json", str(out)])
    assert result.exit_code == 0
    written = json.loads(out.read_text())
    assert written["labels"]["answer_leak"] | {"labelled": 2, "found": 1} == written["labels"]["answer_leak"]
    assert (written["labels"]["answer_leak"]["precision"], written["labels"]["answer_leak"]["recall"]) == (1.0, 0.5)
    assert written["rules"]["answer_leak"]["asked"]["precision"] == 1.0
    assert "missed answer_leak" in result.output


def test_the_command_examines_a_file_of_cues(tmp_path: Path) -> None:
    path = tmp_path / "cues.jsonl"
    path.write_text(
        '{"question": "Find x.", "answer": 13, "cue": "x = 13"}\n{"question": "Find x.", "answer": 13, "cue": "Sorry, I see no image."}\n'
    )
    result = CliRunner().invoke(app, ["cues", "audit", str(path)])
    assert result.exit_code == 0
    assert "2 cues, 0 without findings" in result.output
    assert "refusal: 1" in result.output


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("[]", "row 1"),
        ("{", "row 1"),
        ('{"answer": "1", "cue": "x"}', "row 1, question"),
        ('{"question": "q", "answer": "1", "cue": "x", "answer_leak": "yes"}', "row 1, answer_leak"),
        ('{"question": "q", "answer": "1", "cue": "x", "choices": "a"}', "row 1, choices"),
        ('{"question": "q", "answer": "1", "cue": "x", "evidence": 3}', "row 1, evidence"),
    ],
)
def test_an_invalid_row_is_reported_with_its_place(line: str, where: str, tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(VicurError, match=where):
        read_posed(path, labelled=True)
