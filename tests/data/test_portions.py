"""A source that is prepared in portions gives the dataset of a single process."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.conftest import make_context, png, row
from tests.data.portioned import merged, planned, prepared, push, read
from tests.data.test_importing import _rows
from vicur.config.data import DigitScenesConfig, FolderConfig, PinnedConfig
from vicur.data import PrepareSummary, prepare, read_manifest, shards
from vicur.data.formats import lines
from vicur.data.importing import parts
from vicur.errors import VicurError
from vicur.storage.folders import new_folder, tree_sha256

FILES = [f"{name}.jsonl" for name in "abcd"]
SHARES = {"distill": 0.5, "validation": 0.25, "test": 0.25}


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Units and shards of a few rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "UNIT_ROWS", 20)
        patch.setattr(shards, "ROWS_PER_SHARD", 70)
        yield


def write_lines(path: Path, rows: list[dict[str, Any] | bytes]) -> None:
    path.write_bytes(b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in rows))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 rows in four files, with repeated ids across files and unusable rows. Do not write to it."""
    folder = tmp_path_factory.mktemp("source")
    (folder / "a.png").write_bytes(png())
    rows = _rows(300)
    for number, name in enumerate(FILES):
        write_lines(folder / name, rows[75 * number : 75 * number + 75])
    return folder


def config_of(source: Path, **settings: Any) -> FolderConfig:
    return FolderConfig.model_validate(
        {"path": source, "processes": 1, "max_skipped_share": 0.5, "required_splits": (), "splits": SHARES, **settings}
    )


def single(config: Any, folder: Path) -> tuple[Path, PrepareSummary]:
    with new_folder(folder / "single") as output:
        inputs = config.inputs() if hasattr(config, "path") else {}
        summary = prepare(config, inputs, output, make_context(folder / "single-work"))
    return folder / "single", summary


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory, small: None) -> tuple[Path, PrepareSummary]:
    """The dataset and the summary of one process."""
    del small
    return single(config_of(source), tmp_path_factory.mktemp("expected"))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_portions_give_the_bytes_and_the_summary_of_one_process(
    source: Path, expected: tuple[Path, PrepareSummary], tmp_path: Path, count: int
) -> None:
    summary = prepared(config_of(source), count, tmp_path / "data", tmp_path)
    assert tree_sha256(tmp_path / "data") == tree_sha256(expected[0])
    assert summary == expected[1]
    assert len(list(tmp_path.glob("portion-*"))) == count


def test_all_rows_decide_from_where_answers_count(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.png").write_bytes(png())
    # Only the last row shows that choices count from 1.
    answers = [1, 2] * 30 + [3]
    rows = [row(f"r-{n}", choices=["cat", "dog", "cow"], answer=answer) for n, answer in enumerate(answers)]
    write_lines(source / "rows.jsonl", rows)
    config = config_of(source)
    folder, expected = single(config, tmp_path)
    summary = prepared(config, 3, tmp_path / "data", tmp_path)
    assert tree_sha256(tmp_path / "data") == tree_sha256(folder)
    assert (summary, summary.answer_index) == (expected, 1)


def test_the_number_follows_from_the_rows(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vicur.data.portions import plan
    from vicur.stage.portions import Automatic

    config = config_of(source)
    assert len(planned(config, 0, tmp_path)) == 1
    monkeypatch.setattr(plan, "AUTOMATIC", Automatic(rows=100, most=8))
    assert len(planned(config, 0, tmp_path)) == 3
    monkeypatch.setattr(plan, "AUTOMATIC", Automatic(rows=10, most=2))
    assert len(planned(config, 0, tmp_path)) == 2


def test_a_portion_that_failed_is_repeated_alone_and_keeps_the_parts_that_it_had(
    source: Path, expected: tuple[Path, PrepareSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    config = config_of(source)
    portions = planned(config, 2, tmp_path)
    first = read(portions[0], 1, tmp_path)
    before = tree_sha256(first)
    reads: list[str] = []
    write_part = parts._write_part

    def killed_at_third(reading: Any, unit: Any, *rest: Any) -> None:
        reads.append(f"{unit.file} {unit.first}")
        if len(reads) == 3:
            raise KilledError
        write_part(reading, unit, *rest)

    monkeypatch.setattr(parts, "_write_part", killed_at_third)
    with pytest.raises(KilledError):
        read(portions[1], 2, tmp_path)
    assert not (tmp_path / "portion-2").exists()
    second = read(portions[1], 2, tmp_path)
    assert len(reads) == portions[1].end - portions[1].first + 1
    assert tree_sha256(first) == before
    merged(config, [first, second], tmp_path / "data", tmp_path)
    assert tree_sha256(tmp_path / "data") == tree_sha256(expected[0])
    # Outputs of steps belong to the platform, which may hand them to another run.
    assert tree_sha256(first) == before


def test_a_merge_that_was_killed_starts_again_from_the_same_portions(
    source: Path, expected: tuple[Path, PrepareSummary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vicur.data.importing import merge

    config = config_of(source)
    portions = [read(each, number, tmp_path) for number, each in enumerate(planned(config, 2, tmp_path))]
    write_shard = merge.write_shard

    def full(*arguments: Any) -> Any:
        write_shard(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merge, "write_shard", full)
    with pytest.raises(OSError, match="No space"):
        merged(config, portions, tmp_path / "data", tmp_path)
    monkeypatch.setattr(merge, "write_shard", write_shard)
    merged(config, portions, tmp_path / "data", tmp_path)
    assert tree_sha256(tmp_path / "data") == tree_sha256(expected[0])


@pytest.fixture
def own(source: Path, tmp_path: Path) -> Path:
    """A copy of the source that a test may change."""
    folder = tmp_path / "own"
    shutil.copytree(source, folder, copy_function=shutil.copy2)
    return folder


def touch(path: Path) -> None:
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


def test_a_changed_file_changes_the_portions_that_read_it_and_no_others(own: Path, tmp_path: Path) -> None:
    before = planned(config_of(own), 4, tmp_path)
    touch(own / "c.jsonl")
    after = planned(config_of(own), 4, tmp_path)
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False, True]
    # Any row may show it.
    touch(own / "a.png")
    assert not any(each in after for each in planned(config_of(own), 4, tmp_path))


def test_a_file_that_is_added_leaves_earlier_portions_as_they_are(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vicur.data.portions import plan
    from vicur.stage.portions import Automatic

    monkeypatch.setattr(plan, "AUTOMATIC", Automatic(rows=75, most=20))
    before = planned(config_of(own), 0, tmp_path)
    write_lines(own / "e.jsonl", [row("new")])
    after = planned(config_of(own), 0, tmp_path)
    assert after[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize(
    ("settings", "same"),
    [
        ({"max_skipped_share": 0.9}, True),
        ({"required_splits": ("test",)}, True),
        ({"duplicates": "report"}, True),
        ({"duplicates": "off"}, False),
        ({"max_prompt_tokens": 10}, False),
        ({"splits": {"distill": "test"}}, False),
    ],
    ids=str,
)
def test_portions_depend_on_the_settings_that_change_how_a_row_is_read(
    source: Path, tmp_path: Path, settings: dict[str, Any], same: bool
) -> None:
    before, after = (planned(config_of(source, **each), 2, tmp_path) for each in ({}, settings))
    assert (before == after) is same


def test_a_source_that_changes_after_it_was_divided_is_refused(own: Path, tmp_path: Path) -> None:
    portions = planned(config_of(own), 2, tmp_path)
    write_lines(own / "d.jsonl", [row("one")])
    read(portions[0], 1, tmp_path)
    with pytest.raises(VicurError, match="has changed since it was divided"):
        read(portions[1], 2, tmp_path)


def test_a_merge_refuses_portions_that_are_not_all_of_one_source(source: Path, tmp_path: Path) -> None:
    config = config_of(source)
    one, two, three = [read(each, number, tmp_path) for number, each in enumerate(planned(config, 3, tmp_path))]
    for wrong, problem in [
        ([one, three], "the portion from number 6 to 12 is missing"),
        ([one, two], "the portion from number 12 on is missing"),
        ([one, two, two, three], "repeats work of another portion"),
        ([one, two, three, source], "is not a portion: it has no portion.json"),
    ]:
        with pytest.raises(VicurError, match=problem):
            merged(config, wrong, tmp_path / "data", tmp_path)
    with pytest.raises(VicurError, match="with other settings, with another seed"):
        merged(config_of(source, max_pixels=100), [one, two, three], tmp_path / "data", tmp_path)
    with pytest.raises(VicurError, match="with other settings, with another seed"):
        merged(config, [one, two, three], tmp_path / "data", tmp_path, seed=1)
    shutil.rmtree(two / "unit-000007")
    with pytest.raises(VicurError, match="has no part of unit 7"):
        merged(config, [one, two, three], tmp_path / "data", tmp_path)


def test_too_many_unusable_rows_are_refused_as_by_one_process(source: Path, tmp_path: Path) -> None:
    config = config_of(source, max_skipped_share=0.01)
    errors = []
    for attempt in (lambda: single(config, tmp_path), lambda: prepared(config, 3, tmp_path / "data", tmp_path)):
        with pytest.raises(VicurError, match="rows cannot be used") as caught:
            attempt()
        # The list of all rows is in the work folder of each.
        errors.append(str(caught.value).replace("single-work", "").replace("merge-work", ""))
    assert errors[0] == errors[1]


def test_sources_that_cannot_be_divided_are_prepared_by_the_merge(tmp_path: Path) -> None:
    pool = {"digits_per_class": 4, "scenes": 3}
    config = DigitScenesConfig.model_validate(dict.fromkeys(("base", "distill", "validation", "test", "ood"), pool))
    dataset, summary = single(config, tmp_path)
    assert len(planned(config, 5, tmp_path)) == 1
    assert prepared(config, 5, tmp_path / "data", tmp_path) == summary
    assert tree_sha256(tmp_path / "data") == tree_sha256(dataset)


def test_a_source_in_a_remote_is_divided_and_a_dataset_there_is_not(
    source: Path, expected: tuple[Path, PrepareSummary], tmp_path: Path
) -> None:
    settings = config_of(source).model_dump(exclude={"type", "path"})
    rows = PinnedConfig(hash=push(source, tmp_path / "remote"), remote=str(tmp_path / "remote"), **settings)
    summary = prepared(rows, 3, tmp_path / "data", tmp_path)
    assert summary == expected[1]
    assert tree_sha256(tmp_path / "data") == tree_sha256(expected[0])
    whole = rows.model_copy(update={"hash": push(expected[0], tmp_path / "remote")})
    assert len(planned(whole, 3, tmp_path)) == 1
    prepared(whole, 3, tmp_path / "taken", tmp_path / "again")
    assert tree_sha256(tmp_path / "taken") == tree_sha256(expected[0])
    assert read_manifest(tmp_path / "taken").examples == summary.examples
