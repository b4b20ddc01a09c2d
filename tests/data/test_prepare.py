import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.data.conftest import SMALL, draw, make_context, make_session, row
from vicur.config.data import DataConfig, DigitScenesConfig, FolderConfig
from vicur.data import PREPARE, PrepareSummary, dvc_hash, prepare, read_examples, read_manifest, stage_inputs, verify
from vicur.errors import VicurError
from vicur.stage.runner import execute
from vicur.storage.folders import tree_sha256

Source = Callable[..., Path]


def _import(folder: Path, output: Path, **settings: Any) -> PrepareSummary:
    config = FolderConfig(path=folder, **{"required_splits": (), **settings})
    output.mkdir()
    return prepare(config, stage_inputs(config), output, make_context(output.parent / "work"))


def test_type_selects_the_source() -> None:
    adapter: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)
    assert adapter.validate_python({"type": "digit_scenes"}) == DigitScenesConfig()
    assert adapter.validate_python({"type": "folder", "path": "mine"}) == FolderConfig(path=Path("mine"))
    with pytest.raises(ValidationError, match="'digit_scenes', 'folder', 'pinned', 'remote'"):
        adapter.validate_python({"type": "digits"})


def test_two_builds_have_the_same_bytes(small: Path, tmp_path: Path) -> None:
    summary = draw(tmp_path / "again")
    assert tree_sha256(tmp_path / "again") == tree_sha256(small)
    assert summary.dataset_hash == dvc_hash(small).md5


def test_another_seed_or_setting_gives_other_bytes(small: Path, tmp_path: Path) -> None:
    draw(tmp_path / "seed", seed=1)
    draw(tmp_path / "more", SMALL.model_copy(update={"ood": SMALL.ood.model_copy(update={"scenes": 3})}))
    hashes = {dvc_hash(folder).md5 for folder in (small, tmp_path / "seed", tmp_path / "more")}
    assert len(hashes) == 3


def test_the_summary_counts_the_examples(tmp_path: Path) -> None:
    summary = draw(tmp_path / "data")
    assert summary.key_figure == "312 examples (base 18, distill 12, validation 6, test 270, ood 6)"
    assert summary.examples == {"base": 18, "distill": 12, "validation": 6, "test": 270, "ood": 6}
    assert summary.metrics["examples/test"] == 270.0
    assert (summary.skipped, summary.skipped_reasons) == (0, {})
    assert PREPARE.summary is PrepareSummary


def test_a_folder_becomes_a_dataset(source: Source, tmp_path: Path) -> None:
    folder = source(row("a"), row("b", split="distill", question="Which?", cue="Seen."))
    summary = _import(folder, tmp_path / "data")
    assert summary.key_figure == "2 examples (distill 1, test 1)"
    assert verify(tmp_path / "data").dataset_hash == summary.dataset_hash
    [example] = read_examples(tmp_path / "data", "distill")
    assert (example.id, example.cue, example.images) == ("b", "Seen.", ((folder / "a.png").read_bytes(),))
    assert not (tmp_path / "data" / "skipped.jsonl").exists()


def test_a_dataset_does_not_depend_on_its_sources_location(source: Source, tmp_path: Path) -> None:
    _import(source(row("a"), name="here"), tmp_path / "one")
    _import(source(row("a"), name="there"), tmp_path / "two")
    assert tree_sha256(tmp_path / "one") == tree_sha256(tmp_path / "two")
    assert str(tmp_path) not in (tmp_path / "one" / "manifest.json").read_text()


def test_skipped_rows_are_counted_and_listed(source: Source, tmp_path: Path) -> None:
    folder = source(*(row(str(number)) for number in range(8)), row("x", images=["no.png"]), b"{")
    summary = _import(folder, tmp_path / "data", max_skipped_share=0.2)
    assert summary.key_figure == "8 examples (test 8); 2 rows skipped"
    assert (summary.skipped, summary.skipped_reasons) == (2, {"images": 1, "row": 1})
    assert read_manifest(tmp_path / "data").skipped == 2
    first, second = map(json.loads, (tmp_path / "data" / "skipped.jsonl").read_text().splitlines())
    assert first == {
        "field": "images[0]",
        "reason": "the file 'no.png' does not exist",
        "remedy": "Add the file, or correct its path.",
        "file": "examples.jsonl",
        "row": 9,
        "id": "x",
    }
    assert second["row"] == 10
    rejection = summary.rejections["images: the file … does not exist"]
    assert (rejection.count, rejection.example) == (
        1,
        "examples.jsonl:row 9:images[0] (x): the file 'no.png' does not exist",
    )
    assert (tmp_path / "work" / "profile.html").is_file()


def test_a_held_out_question_is_dropped_from_training_and_counted(source: Source, tmp_path: Path) -> None:
    folder = source(row("a", split="distill"), row("b", split="test"), row("c", split="distill", question="Why?"))
    summary = _import(folder, tmp_path / "data")
    assert summary.examples == {"distill": 1, "test": 1}
    assert summary.findings == {"leaked": 1, "shared_image": 1}
    assert summary.metrics["findings/leaked"] == 1
    assert "1 held-out questions in the training data (dropped)" in summary.key_figure
    assert json.loads((tmp_path / "data" / "skipped.jsonl").read_text())["id"] == "a"


def test_a_question_of_60_000_words_is_skipped(source: Source, tmp_path: Path) -> None:
    folder = source(row("a"), row("b", question="word " * 60_000))
    summary = _import(folder, tmp_path / "data", max_skipped_share=0.5)
    assert "question: the prompt has at least N tokens, above data.max_prompt_tokens = N" in summary.rejections


def test_too_many_skipped_rows_fail_the_stage_with_the_reasons(source: Source, tmp_path: Path) -> None:
    folder = source(*(row(str(number)) for number in range(40)), row("x", question=""))
    with pytest.raises(VicurError) as caught:
        _import(folder, tmp_path / "data")
    message = str(caught.value)
    assert "examples.jsonl: 1 of 41 rows cannot be used; data.max_skipped_share=0.02 allows 2.0 %" in message
    assert "examples.jsonl:row 41:question: is blank. Fill the field in." in message
    assert "raise data.max_skipped_share" in message
    assert len((tmp_path / "work" / "skipped.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [([], r"examples\.jsonl: has no rows\."), ([b"{"], r"1 of 1 rows cannot be used")],
)
def test_a_source_without_a_usable_row_fails(source: Source, tmp_path: Path, rows: list[bytes], message: str) -> None:
    with pytest.raises(VicurError, match=message):
        _import(source(*rows), tmp_path / "data", max_skipped_share=1.0)


def test_a_failure_leaves_the_previous_dataset_untouched(source: Source, tmp_path: Path) -> None:
    session = make_session(tmp_path)
    good = FolderConfig(path=source(row("a"), name="good"), required_splits=())
    bad = FolderConfig(path=source(row("a", images=["no.png"]), name="bad"))
    data = tmp_path / "data"
    execute(PREPARE, good, stage_inputs(good), data, session)
    before = tree_sha256(data)
    with pytest.raises(VicurError, match=r"the file 'no\.png' does not exist"):
        execute(PREPARE, bad, stage_inputs(bad), data, session)
    assert tree_sha256(data) == before
    assert [path.name for path in tmp_path.iterdir() if "data" in path.name] == ["data"]


def test_a_missing_source_fails_before_the_stage_starts(tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"none: is not a folder\. Set data\.path"):
        stage_inputs(FolderConfig(path=tmp_path / "none"))


def test_a_repeated_id_is_skipped_unless_its_first_row_is(source: Source, tmp_path: Path) -> None:
    folder = source(row("a", question=""), row("a"), row("b"), row("a", split="distill"))
    summary = _import(folder, tmp_path / "data", max_skipped_share=0.5)
    assert summary.examples == {"test": 2}
    blank, repeated = map(json.loads, (tmp_path / "data" / "skipped.jsonl").read_text().splitlines())
    assert blank["field"] == "question"
    assert (repeated["row"], repeated["field"], repeated["reason"]) == (4, "id", "'a' is already the id of row 2")
