"""Benchmarks become datasets: exact prompts, images, groups and answers, or an error that names the row."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.benchmarks.drawn import TABLES, bars, mathvista, mmmu, videomme, wemath, write_table
from vicur.data import read_examples, read_manifest
from vicur.data.pin import dvc_hash, file_md5
from vicur.data.schema import Example
from vicur.data.verification import verify
from vicur.errors import VicurError
from vicur.evaluation.benchmarks.content import KEY, content_of_parts, question_of
from vicur.evaluation.benchmarks.registry import BENCHMARKS
from vicur.evaluation.benchmarks.staging import stage
from vicur.prompts import ImagePart, VideoPart, content_of


def example(folder: Path, index: str) -> Example:
    return next(each for each in read_examples(folder) if each.metadata[KEY]["index"] == index)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_counted_question_is_staged_with_its_columns(staged: dict[str, Path], name: str) -> None:
    rows = read_examples(staged[name])
    assert len(rows) >= 8
    assert {row.split for row in rows} == {"test"}
    if name in TABLES:
        counted = [row for row in TABLES[name]() if row.get("split") != "dev"]
        for row, source in zip(rows, counted, strict=True):
            columns = row.metadata[KEY]["columns"]
            hidden = {"image", *(key for key, value in source.items() if value in ("", "None"))}
            assert columns == {key: str(value) for key, value in source.items() if key not in hidden}
    assert verify(staged[name]).examples == {"test": len(rows)}
    assert read_manifest(staged[name]).source["name"] == name


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_question_shows_what_the_parts_do(staged: dict[str, Path], name: str) -> None:
    for row in read_examples(staged[name]):
        if row.id == "mmmu-5":
            continue  # its marker stands between backticks, which only the parts can express
        shown = content_of(row.question, (), row.visuals, is_video=row.video is not None)
        assert shown == content_of_parts(row)


def test_images_of_mmmu_stand_where_the_text_and_the_options_mark_them(staged: dict[str, Path]) -> None:
    first, second = bars(1, 2), bars(5, 2, colour="red")
    swapped = example(staged["mmmu"], "1")
    assert swapped.images == (second, first)
    end = ". Which is red?\nOptions:\nA. the first\nB. the second\nPlease select the correct answer from the options above. \n"
    assert content_of_parts(swapped) == ("Question: Compare ", ImagePart(0), " with ", ImagePart(1), end)
    repeated = example(staged["mmmu"], "2")
    assert [part.index for part in content_of_parts(repeated) if isinstance(part, ImagePart)] == [0, 0]
    # pandas reads the option "None" as missing, so that the harness does not show it.
    assert "C." not in repeated.question
    in_options = example(staged["mmmu"], "3")
    assert in_options.question.count("<image ") == 2
    unused = example(staged["mmmu"], "8")
    assert unused.images == (second,)
    unmarked = example(staged["mmmu"], "6")
    assert content_of_parts(unmarked)[0] == ImagePart(0)
    assert content_of_parts(unmarked)[1].startswith("Hint: Look.\nQuestion: No marker")  # type: ignore[union-attr]


def test_a_marker_in_code_is_kept_by_the_parts() -> None:
    parts = ["``the cost'' ", 0, " of ``this''"]
    row = Example(
        id="1", images=(bars(1),), question=question_of(parts), answer="1", source="x", split="test",
        metadata={KEY: {"name": "mmmu", "index": "1", "columns": {}, "parts": parts}},
    )  # fmt: skip
    assert content_of_parts(row) == ("``the cost'' ", ImagePart(0), " of ``this''")


@pytest.mark.parametrize(
    "parts",
    [
        [0, "plain"],
        [0, 1, "two images"],
        [0, "text that says <image> and <image 1>"],
        [0, r"an escaped \<image> and \\<|image_2|>"],
        ["first ", 1, " then ", 0, " and ", 1],
        ["only text before ", 0],
        [0, "code `<image>` stays"],
    ],
)
def test_questions_give_the_parts_back(parts: list[str | int]) -> None:
    images = len({part for part in parts if isinstance(part, int)})
    expected = tuple(ImagePart(part) if isinstance(part, int) else part for part in parts)
    assert content_of(question_of(parts), (), images) == expected


def test_groups_are_those_that_depend_on_each_other(staged: dict[str, Path]) -> None:
    def groups(name: str) -> list[str]:
        return [row.group for row in read_examples(staged[name])]

    assert groups("dynamath") == ["0"] * 3 + ["3"] * 3 + ["6"] * 3
    assert groups("mathverse") == ["1"] * 5 + ["2"] * 5
    assert groups("wemath") == ["2steps-1"] * 3 + ["2steps-2"] * 3 + ["3steps-1"] * 4
    assert groups("videomme") == ["video0"] * 3 + ["video1"] * 3 + ["video2"] * 3


def test_a_row_that_names_another_has_its_image(staged: dict[str, Path]) -> None:
    rows = read_examples(staged["mathverse"])
    assert [row.images for row in rows] == [(bars(1, 5),)] * 5 + [(bars(2, 5),)] * 5


def test_frames_of_a_video_are_drawn_once_with_their_times(staged: dict[str, Path]) -> None:
    rows = read_examples(staged["videomme"])
    video = rows[0].video
    assert video is not None
    assert rows[0].images == rows[2].images
    assert (len(rows[0].images), video.fps, video.timestamps[:3]) == (8, 4.0, (0.0, 0.25, 0.5))
    content = content_of_parts(rows[0])
    assert content[0] == VideoPart()
    assert content[1].endswith("right?") is False  # type: ignore[union-attr]
    assert content[1].startswith("\nThese are the frames of a video.")  # type: ignore[union-attr]
    assert content[1].endswith("D. It stops.\nAnswer: ")  # type: ignore[union-attr]


def test_the_own_split_is_asked_as_in_this_project(staged: dict[str, Path], sources: dict[str, Path]) -> None:
    for mine, source in zip(read_examples(staged["vision-r1"]), read_examples(sources["vision-r1"]), strict=True):
        assert content_of_parts(mine) == content_of(source.question, source.choices, 1)
        assert (mine.images, mine.group) == (source.images, source.group)


def test_the_same_file_gives_the_same_dataset(
    sources: dict[str, Path], staged: dict[str, Path], tmp_path: Path
) -> None:
    copy = shutil.copytree(sources["mmmu"], tmp_path / "elsewhere")
    again = stage(BENCHMARKS["mmmu"], copy, tmp_path / "out", md5=file_md5(copy / "MMMU_DEV_VAL.tsv"))
    assert again.dataset_hash == dvc_hash(staged["mmmu"]).md5 == dvc_hash(tmp_path / "out").md5
    assert (again.rows, again.images, again.is_official) == (9, 11, False)


def test_another_file_than_the_benchmarks_own_is_refused(sources: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(VicurError, match=r"has the MD5 \w{32}, but MathVista has f199b98e\w+\. .*--md5"):
        stage(BENCHMARKS["mathvista"], sources["mathvista"], tmp_path / "out")
    with pytest.raises(VicurError, match=r"but --md5 says 0{32}"):
        stage(BENCHMARKS["mathvista"], sources["mathvista"], tmp_path / "out", md5="0" * 32)
    with pytest.raises(VicurError, match=r"WeMath.tsv: is not there. .*nothing is downloaded"):
        stage(BENCHMARKS["wemath"], tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def without(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != name} for row in rows]


def changed(rows: list[dict[str, Any]], place: int, **values: Any) -> list[dict[str, Any]]:
    return [{**row, **values} if n == place else row for n, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("mathvista", lambda: changed(mathvista(), 2, image="not base64, and longer than a reference" * 3), "row 3:image"),
        ("mathvista", lambda: changed(mathvista(), 2, image="77"), "names row '77', which has no image"),
        ("mathvista", lambda: changed(mathvista(), 0, index=1), "row 2:index: '1' occurs twice"),
        ("mathvista", lambda: changed(mathvista(), 4, choices="__import__('os')"), "row 5:choices: is not a list of texts"),
        ("mathvista", lambda: changed(mathvista(), 4, choices=""), "row 5:choices"),
        ("mathvista", lambda: changed(mathvista(), 4, answer=""), "row 5:answer: is missing"),
        ("mathvista", lambda: without(mathvista(), "answer_type"), "row 1:answer_type: is missing"),
        ("mathvista", lambda: without(mathvista(), "index"), "no header with the column 'index'"),
        ("mmmu", lambda: changed(mmmu(), 0, question="<image 3> what?"), "marks an image as '<image 3>"),
        ("mmmu", lambda: changed(mmmu(), 0, question="<image x> what?"), "marks an image as '<image x> "),
        ("wemath", lambda: changed(wemath(), 3, key=""), "row 4:key: is missing"),
        ("videomme", lambda: changed(videomme(), 1, video="../../etc/passwd"), "is not the name of a video"),
        ("videomme", lambda: changed(videomme(), 1, video="video9"), "video/video9.mp4 is not there"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_fails_with_its_place(
    name: str, rows: Callable[[], list[dict[str, Any]]], message: str, sources: dict[str, Path], tmp_path: Path
) -> None:
    if name == "videomme":
        shutil.copytree(sources[name] / "video", tmp_path / "video")
    md5 = write_table(rows(), tmp_path / BENCHMARKS[name].file)
    with pytest.raises(VicurError) as error:
        stage(BENCHMARKS[name], tmp_path, tmp_path / "out", md5=md5)
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_official_file_must_have_all_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    md5 = write_table(mathvista(), tmp_path / "MathVista_MINI.tsv")
    monkeypatch.setattr(type(BENCHMARKS["mathvista"]), "md5", md5)
    with pytest.raises(VicurError, match=r"has 10 questions that count, but MathVista has 1000"):
        stage(BENCHMARKS["mathvista"], tmp_path, tmp_path / "out")


def test_large_cells_and_quotes_are_read(tmp_path: Path) -> None:
    rows = changed(mathvista(), 0, question='A "quoted"\tquestion\nwith lines', category="x" * 200_000)
    md5 = write_table(rows, tmp_path / "MathVista_MINI.tsv")
    stage(BENCHMARKS["mathvista"], tmp_path, tmp_path / "out", md5=md5)
    assert example(tmp_path / "out", "0").question == 'A "quoted"\tquestion\nwith lines'
