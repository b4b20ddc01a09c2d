"""Videos are found where public datasets keep them: in archives, by their ids, and as folders of frames in any column."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.videos import frame_folder, moving, video_file
from vicur.config.data import FolderConfig
from vicur.data.formats import SourceFolder
from vicur.data.inspection import Inspection, inspect


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``a.mp4`` and a folder ``frames/a`` in a folder; both also in archives. Do not write to it."""
    folder = tmp_path_factory.mktemp("places")
    pictures = moving("right", "red", frames=8)
    video_file(folder / "a.mp4", pictures)
    (folder / "frames").mkdir()
    frame_folder(folder / "frames" / "a", pictures)
    with zipfile.ZipFile(folder / "videos.zip", "w") as archive:
        archive.write(folder / "a.mp4", "clips/a.mp4")
    with zipfile.ZipFile(folder / "frames.zip", "w") as archive:
        for frame in (folder / "frames" / "a").iterdir():
            archive.write(frame, f"a/{frame.name}")
    return folder


def inspected(folder: Path, clips: Path, files: list[str], columns: dict[str, Any], name: str) -> Inspection:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clips / file, folder / file)
    (folder / name).write_text(json.dumps({"question": "Where to?", "answer": "right", **columns}) + "\n")
    return inspect(SourceFolder(folder), FolderConfig(path=folder))


FRAMES = [f"frames/a/frame_{number}.png" for number in range(8)]


@pytest.mark.parametrize(
    ("files", "columns", "frames"),
    [
        (["videos.zip"], {"video": "a.mp4"}, 4),
        (["videos.zip"], {"video": "clips/a.mp4"}, 4),
        (["videos.zip"], {"video": "a"}, 4),
        (["a.mp4"], {"video": "a"}, 4),
        (["frames.zip"], {"video": "a"}, 8),
        (["frames.zip"], {"video": "frames/a"}, 8),
        (FRAMES, {"video": "frames/a"}, 8),
        (FRAMES, {"video": "a"}, 8),
        (FRAMES, {"image": "frames/a"}, 8),
        (["frames.zip"], {"image": "a"}, 8),
        (FRAMES, {"file_name": "frames/a"}, 8),
    ],
)
def test_a_video_is_found(tmp_path: Path, clips: Path, files: list[str], columns: dict[str, Any], frames: int) -> None:
    for file in files:
        assert (clips / file).is_file()
    name = "metadata.jsonl" if "file_name" in columns else "train.jsonl"
    found = inspected(tmp_path, clips, files, columns, name)
    assert found.skipped == []
    assert found.rows[0].images[0].startswith(f"video of {frames} frames")


def test_a_name_of_several_folders_of_frames_is_not_guessed(tmp_path: Path, clips: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place / "a").mkdir(parents=True)
        for frame in FRAMES:
            (tmp_path / place / "a" / Path(frame).name).write_bytes((clips / frame).read_bytes())
    found = inspected(tmp_path, clips, [], {"video": "a"}, "train.jsonl")
    assert found.usable == 0
    assert "'a' could be one/a or two/a" in found.skipped[0].reason


def test_an_image_is_found_by_its_id(tmp_path: Path, clips: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "000123.png").write_bytes((clips / FRAMES[0]).read_bytes())
    found = inspected(tmp_path, clips, [], {"image": "000123"}, "train.jsonl")
    assert found.skipped == []
    assert found.rows[0].images == ["32 x 32"]
