import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.conftest import png, row
from tests.data.importer import import_small
from vicur.data import read_examples, read_manifest, verify
from vicur.data.importing import merge, parts, room
from vicur.data.prepare import Rejection
from vicur.data.profile import profile_of, render_profile
from vicur.errors import VicurError
from vicur.storage.folders import tree_sha256

Source = Callable[..., Path]


def _rows(count: int) -> list[dict[str, Any] | bytes]:
    """Rows of three splits; some are unusable, some repeat an id."""
    rows: list[dict[str, Any] | bytes] = []
    for number in range(count):
        split = ("distill", "distill", "validation", "test")[number * 7 % 4]
        changes: dict[str, Any] = {"split": split, "question": f"What is {number}?"}
        if number % 13 == 5:
            changes["images"] = ["no.png"]
        if number % 17 == 9:
            changes["images"] = []
        name = f"r{number - 3 if number % 11 == 7 else number}"
        rows.append(b"{" if number % 29 == 3 else row(name, **changes))
    return rows


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source of 300 rows, with unusable ones. Do not write to it."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "a.png").write_bytes(png())
    lines = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in _rows(300)]
    (folder / "examples.jsonl").write_bytes(b"\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def expected(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of ``mixed``, made by one process from one unit."""
    folder = tmp_path_factory.mktemp("expected")
    import_small(mixed, folder / "work", folder / "data", unit_rows=1000)
    return folder / "data"


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(unit_rows=st.integers(1, 350), order=st.randoms(use_true_random=False))
def test_any_units_read_in_any_order_give_the_same_bytes(
    mixed: Path, expected: Path, tmp_path_factory: pytest.TempPathFactory, unit_rows: int, order: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("data")

    def shuffled(function: Any, tasks: Any, _processes: int, *_: Any) -> Any:
        numbers = list(range(len(tasks)))
        order.shuffle(numbers)
        for number in numbers:
            yield number, function(tasks[number], lambda _done: None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vicur.data.importing.folder_import.run_tasks", shuffled)
        patch.setattr(merge, "run_tasks", shuffled)
        import_small(mixed, folder / "work", folder / "data", unit_rows=unit_rows)
    assert tree_sha256(folder / "data") == tree_sha256(expected)


def test_several_processes_give_the_bytes_of_one(mixed: Path, expected: Path, tmp_path: Path) -> None:
    import_small(mixed, tmp_path / "work", tmp_path / "data", processes=3)
    assert tree_sha256(tmp_path / "data") == tree_sha256(expected)
    verify(tmp_path / "data")


def test_every_row_is_an_example_or_is_listed_in_the_order_of_the_source(expected: Path) -> None:
    skipped = [json.loads(line) for line in (expected / "skipped.jsonl").read_text().splitlines()]
    assert [each["row"] for each in skipped] == sorted(each["row"] for each in skipped)
    kept = {int(example.question.removeprefix("What is ").removesuffix("?")) + 1 for example in read_examples(expected)}
    assert kept | {each["row"] for each in skipped} == set(range(1, 301))
    assert len(kept) + len(skipped) == 300
    assert {each["field"] for each in skipped} == {"", "images[0]", "id"}
    [repeated] = [each for each in skipped if each["row"] == 8]
    assert repeated["reason"] == "'r4' is already the id of row 5"
    manifest = read_manifest(expected)
    assert manifest.skipped == len(skipped)
    assert all(shard.rows <= 70 for shard in manifest.shards)


def test_parts_that_exist_are_not_read_again(
    mixed: Path, expected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    reads = 0
    write_part = parts._write_part

    def fail_at_fourth(*arguments: Any) -> None:
        nonlocal reads
        reads += 1
        if reads == 4:
            raise KilledError
        write_part(*arguments)

    monkeypatch.setattr(parts, "_write_part", fail_at_fourth)
    with pytest.raises(KilledError):
        import_small(mixed, tmp_path / "work", tmp_path / "data")
    import_small(mixed, tmp_path / "work", tmp_path / "data")
    # Eight units, of which the fourth was begun twice.
    assert reads == 9
    assert tree_sha256(tmp_path / "data") == tree_sha256(expected)


def test_a_merge_that_was_killed_continues_without_the_parts_it_has_removed(
    mixed: Path, expected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    written = 0
    write_shard = merge.write_shard

    def fail_at_fourth(*arguments: Any) -> Any:
        nonlocal written
        written += 1
        if written == 4:
            raise KilledError
        return write_shard(*arguments)

    monkeypatch.setattr(merge, "write_shard", fail_at_fourth)
    with pytest.raises(KilledError):
        import_small(mixed, tmp_path / "work", tmp_path / "data")
    folders = list((tmp_path / "work" / "parts").iterdir())
    left = [folder for folder in folders if (folder / "examples.parquet").exists()]
    assert 0 < len(left) < len(folders)
    import_small(mixed, tmp_path / "work", tmp_path / "data")
    assert tree_sha256(tmp_path / "data") == tree_sha256(expected)


def test_another_source_or_setting_in_the_same_work_folder_is_read_anew(mixed: Path, tmp_path: Path) -> None:
    import_small(mixed, tmp_path / "work", tmp_path / "one")
    changed = Path(shutil.copytree(mixed, tmp_path / "changed"))
    rows = (changed / "examples.jsonl").read_bytes().splitlines()
    (changed / "examples.jsonl").write_bytes(b"\n".join(rows[:-20]))
    import_small(changed, tmp_path / "work", tmp_path / "two")
    counts = [sum(read_manifest(tmp_path / name).examples.values()) for name in ("one", "two")]
    assert 10 < counts[0] - counts[1] <= 20


def test_images_of_several_frames_are_counted_with_an_example(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(3):
        frames = [Image.new("RGB", (20, 20), colour) for colour in ((number, 9, 90), (200, 9, number))]
        frames[0].save(folder / f"{number}.gif", save_all=True, append_images=frames[1:])
    (folder / "a.png").write_bytes(png())
    rows = [row(f"r{n}", images=[f"{n}.gif" if n < 3 else "a.png"], question=f"Is it {n}?") for n in range(6)]
    (folder / "examples.jsonl").write_text("\n".join(map(json.dumps, [*rows, row("r1", images=["0.gif"])])))
    summary = import_small(folder, tmp_path / "work", tmp_path / "data", unit_rows=2)
    # The row that repeats an id is skipped, and its image does not count.
    assert summary.image_notes["animated: the first frame is used"] == Rejection(count=3, example="r0")
    assert "3 images of several frames (the first is used)" in summary.key_figure
    page = render_profile(profile_of(tmp_path / "data"), "x")
    assert "animated: the first frame is used" in page


def _problems(folder: Path) -> Path:
    for number in range(6):
        problem = folder / "train" / str(number)
        problem.mkdir(parents=True)
        data = {"problem_text": f"Find x in {number}.", "choices": ["1", "2"], "answer": "A"}
        (problem / "data.json").write_text(json.dumps(data))
        (problem / "logic_form.json").write_text("{}")
        (problem / "img_diagram.png").write_bytes(png(20, 20, (number, 0, 0)))
    return folder


def _classes(folder: Path) -> Path:
    for number in range(6):
        place = folder / "train" / ("cat" if number % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes(png(20, 20, (number, 0, 0)))
    return folder


@pytest.mark.parametrize(
    ("build", "settings", "change"),
    [
        (_problems, {}, lambda f: _replace(f / "train/3/data.json", b"Find x", b"Find y")),
        (_problems, {}, lambda f: (f / "train/3/img_diagram.png").write_bytes(png(20, 20, (90, 9, 9)))),
        (_problems, {}, lambda f: _replace(f / "train/3/logic_form.json", b"{}", b'{"text_logic_form": ["a"]}')),
        (_problems, {}, lambda f: (f / "train/3/img_diagram.png").unlink()),
        (_classes, {"question": "What is it?"}, lambda f: (f / "train/cat/3.png").write_bytes(png(20, 20, (90, 9, 9)))),
    ],
    ids=["text", "image", "logic form", "removed image", "class image"],
)
@pytest.mark.parametrize("killed_in", ["_place", "write_shard"])
def test_a_file_that_changes_between_two_runs_is_read_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[[Path], Path],
    settings: dict[str, Any],
    change: Callable[[Path], Any],
    killed_in: str,
) -> None:
    source = build(tmp_path / "source")
    # Shards of one row: some are complete, and some parts' examples removed, when the run is killed.
    with monkeypatch.context() as patch:
        calls = 0
        function = getattr(merge, killed_in)

        def killed(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == (1 if killed_in == "_place" else 4):
                raise KeyboardInterrupt
            return function(*arguments)

        patch.setattr(merge, killed_in, killed)
        with pytest.raises(KeyboardInterrupt):
            import_small(source, tmp_path / "work", tmp_path / "data", unit_rows=2, shard_rows=1, **settings)
    change(source)
    for name, work in (("resumed", "work"), ("anew", "new")):
        import_small(source, tmp_path / work, tmp_path / name, unit_rows=2, shard_rows=1, **settings)
    assert tree_sha256(tmp_path / "resumed") == tree_sha256(tmp_path / "anew")


def _replace(file: Path, old: bytes, new: bytes) -> None:
    file.write_bytes(file.read_bytes().replace(old, new))


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_import_that_is_killed_at_any_moment_gives_the_same_bytes(
    mixed: Path, expected: Path, tmp_path: Path, processes: int
) -> None:
    command = [sys.executable, "-m", "tests.data.importer", *map(str, (mixed, tmp_path / "work", tmp_path / "data"))]
    delays = random.Random(processes)  # noqa: S311
    for _ in range(12):
        running = subprocess.Popen([*command, str(processes)])
        time.sleep(delays.uniform(1.0, 3.0))
        running.kill()
        running.wait()
    subprocess.run([*command, str(processes)], check=True)
    assert tree_sha256(tmp_path / "data") == tree_sha256(expected)
    assert not list(tmp_path.glob(".*.partial"))


def test_a_disk_that_is_too_small_is_refused_with_the_room_that_it_needs(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _path: usage._replace(free=10_000))
    with pytest.raises(VicurError, match=r"has 0\.0 MB free, but the rest of the rows will take about \d") as caught:
        import_small(mixed, tmp_path / "work", tmp_path / "data")
    assert "run the same command again" in caught.value.remedy


def test_progress_counts_rows_and_then_examples(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, str]] = []
    monkeypatch.setattr("vicur.stage.events.Events.progress", lambda _self, *step: seen.append(step))
    import_small(mixed, tmp_path / "work", tmp_path / "data")
    assert seen[0][1:] == (300, "rows read, 5 skipped")
    assert (300, 300) in [step[:2] for step in seen]
    assert seen[-1][0] == seen[-1][1]
    assert seen[-1][2] == "examples written"


def test_many_rejects_are_listed_and_a_few_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    with (folder / "examples.jsonl").open("wb") as file:
        file.writelines([b"{\n"] * 3000 + [json.dumps(row("a", images=[])).encode()])
    with pytest.raises(VicurError, match=r"3000 of 3001 rows cannot be used") as caught:
        import_small(folder, tmp_path / "work", tmp_path / "data", unit_rows=500)
    assert str(caught.value).count("is not JSON") == 5
    with (tmp_path / "work" / "skipped.jsonl").open() as listed:
        assert sum(1 for _ in listed) == 3000


def test_a_held_out_question_is_left_out_of_training_and_does_not_count_as_a_fault(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.png").write_bytes(png())
    rows = [row(f"t{n}", split="distill", question=f"Which is {n}?") for n in range(8)]
    rows += [row("h", split="test", question="Which is 3?"), row("bad", images=["no.png"])]
    (folder / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    summary = import_small(folder, tmp_path / "work", tmp_path / "data", unit_rows=3)
    skipped = [json.loads(line) for line in (tmp_path / "data" / "skipped.jsonl").read_text().splitlines()]
    assert [(each["row"], each["field"]) for each in skipped] == [(4, "question"), (10, "images[0]")]
    assert "as 'h' of the split test" in skipped[0]["reason"]
    assert (summary.skipped, summary.examples) == (2, {"distill": 7, "test": 1})
    findings = json.loads((tmp_path / "data" / "findings.json").read_text())
    assert findings["findings"][0]["rule"] == "leaked"


def test_examples_about_one_image_stay_together_when_splits_are_shared_out(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    for scene in range(40):
        (folder / f"{scene}.png").write_bytes(png(40, 40, (5 * scene, 90, 200 - 5 * scene)))
    rows = [
        row(f"{scene}-{n}", images=[f"{scene}.png"], split=..., question=f"Is {n} in {scene}?", metadata={"group": f"g{scene // 2}"})
        for n in range(3)
        for scene in range(40)
    ]  # fmt: skip
    (folder / "examples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, unit_rows in (("one", 7), ("two", 100)):
        import_small(folder, tmp_path / name / "work", tmp_path / name / "data", unit_rows=unit_rows)
    assert tree_sha256(tmp_path / "one" / "data") == tree_sha256(tmp_path / "two" / "data")
    splits: dict[str, set[str]] = {}
    for example in read_examples(tmp_path / "one" / "data"):
        splits.setdefault(example.group, set()).add(example.split)
    assert len(splits) == 20
    assert all(len(each) == 1 for each in splits.values())
