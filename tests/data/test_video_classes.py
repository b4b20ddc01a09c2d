"""Folders of classes with videos: files, or folders of frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.videos import moving, video_file
from vicur.config.data import FolderConfig
from vicur.data.formats import SourceFolder
from vicur.data.inspection import Inspection, inspect

QUESTION = "Where does the square move?"


def write_frames(folder: Path, way: str, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name, picture in zip(names, moving(way, "red", frames=len(names)), strict=True):
        Image.fromarray(picture).save(folder / name)


def frames(count: int, name: str = "frame_{:04}.png") -> list[str]:
    return [name.format(number) for number in range(1, count + 1)]


def inspected(folder: Path, **settings: object) -> Inspection:
    config = FolderConfig(path=folder, question=QUESTION, **settings)
    return inspect(SourceFolder(folder), config, shown=10)


def answers(found: Inspection) -> list[tuple[str, str, str | None]]:
    return [(row.id, row.answer, row.split) for row in found.rows]


def test_folders_of_frames_in_folders_of_classes_are_videos(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for way in ("left", "right"):
            for clip in ("clip_1", "clip_2"):
                write_frames(tmp_path / split / way / clip, way, frames(4))
    found = inspected(tmp_path)
    assert (found.format, found.usable, found.skipped) == ("imagefolder", 8, [])
    assert answers(found)[:3] == [
        ("test/left/clip_1", "left", "test"),
        ("test/left/clip_2", "left", "test"),
        ("test/right/clip_1", "right", "test"),
    ]
    assert found.rows[0].question == QUESTION
    assert found.rows[0].images[0].startswith("video of 4 frames")
    assert any("frames of one video each" in doubt for doubt in found.unsure)
    as_images = inspected(tmp_path, fields={"video": []})
    assert as_images.usable == 32
    assert {row.answer for row in as_images.rows} <= {"clip_1", "clip_2"}


def test_video_files_in_folders_of_classes(tmp_path: Path) -> None:
    for way in ("left", "right"):
        (tmp_path / "train" / way).mkdir(parents=True)
        video_file(tmp_path / "train" / way / "1.mp4", moving(way, "blue"))
    found = inspected(tmp_path)
    assert found.skipped == []
    assert answers(found) == [
        ("train/left/1.mp4", "left", "distill"),
        ("train/right/1.mp4", "right", "distill"),
    ]
    assert found.rows[0].images[0].startswith("video of ")


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (("train/left", "train/right"), frames(3)),  # below a split, not below a class
        (("left", "right"), frames(3)),
        (("moves/left", "moves/right"), frames(3)),  # one folder above them is no class
        (("a/left", "b/right"), ["1.png", "2.png", "10.png"]),
        (("a/left", "b/right"), ["frame_1.png", "frame_2.png", "frame_7.png"]),
        (("a/left", "b/right"), ["red.png", "green.png"]),
    ],
)
def test_other_folders_of_images_are_classes(tmp_path: Path, places: tuple[str, str], names: list[str]) -> None:
    for place in places:
        write_frames(tmp_path / place, "left", names)
    found = inspected(tmp_path)
    assert found.usable == 2 * len(names)
    assert {row.answer for row in found.rows} == {"left", "right"}
    assert not any(image.startswith("video") for row in found.rows for image in row.images)
