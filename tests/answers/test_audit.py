import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vicur.answers.audit import read_labelled
from vicur.commands.answers import app
from vicur.errors import VicurError

ROWS = [
    {"answer": "12", "choices": [], "response": "Answer: 12", "correct": True, "kind": "number"},
    {"answer": "12", "response": "Answer: 12", "correct": False, "kind": "number"},
    {"answer": "B", "choices": ["1", "2"], "response": "Therefore, it is (B).", "correct": True, "kind": "option"},
]


def _file(folder: Path, *rows: object) -> Path:
    path = folder / "labelled.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_the_audit_reports_agreement_by_kind_and_lists_disagreements(tmp_path: Path) -> None:
    target = tmp_path / "out" / "audit.json"
    result = CliRunner().invoke(app, [str(_file(tmp_path, *ROWS)), "--json", str(target)])
    assert result.exit_code == 0, result.output
    assert "false accept in row 2 (number): answer '12', extracted '12'" in result.output
    report = json.loads(target.read_text())
    assert (report["agreement"], report["false_accepts"], report["false_rejects"]) == (0.6667, 1, 0)
    assert report["by_kind"]["number"] == {"rows": 2, "agreement": 0.5, "false_accepts": 1, "false_rejects": 0}
    assert [d["row"] for d in report["disagreements"]] == [2]


def test_the_strict_extractor_can_be_audited(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(_file(tmp_path, *ROWS)), "--extractor", "strict"])
    assert "false reject in row 3 (option): answer 'B', choices ['1', '2'], extracted None" in result.output


@pytest.mark.parametrize(
    ("row", "place", "problem"),
    [
        ({"answer": "1", "response": "1"}, ", correct", "is missing"),
        ({"answer": 1, "response": "1", "correct": True}, ", answer", "is a number, not text"),
        ({"answer": " ", "response": "1", "correct": True}, ", answer", "is blank"),
        ({"answer": "1", "response": "1", "correct": "yes"}, ", correct", "is text, not a truth value"),
        ({"answer": "1", "choices": "1", "response": "1", "correct": True}, ", choices", "is text, not a list"),
        ({"answer": "1", "choices": [1], "response": "1", "correct": True}, ", choices[0]", "is a number, not text"),
        ([], "", "is a list, not an object"),
    ],
)
def test_an_invalid_row_is_refused_with_file_row_and_field(
    tmp_path: Path, row: object, place: str, problem: str
) -> None:
    path = _file(tmp_path, ROWS[0], row)
    with pytest.raises(VicurError, match="Write rows like") as caught:
        read_labelled(path)
    assert caught.value.where == f"{path}: row 2{place}"
    assert caught.value.problem == f"{problem}."


@pytest.mark.parametrize("content", [b"", b"\n", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labelled.jsonl"
    path.write_bytes(content)
    with pytest.raises(VicurError):
        read_labelled(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match="cannot be read"):
        read_labelled(tmp_path / "none.jsonl")
