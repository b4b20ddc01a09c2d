"""Videos of untrusted sources become frames of stored examples, or skipped rows with a reason."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import make_context
from tests.videos import frame_folder, moving, png, trimmed, video_file
from vicur.config.data import FolderConfig
from vicur.config.video import VideoConfig
from vicur.data import prepare
from vicur.data.exporting import export
from vicur.data.images import plain_image, plain_size
from vicur.data.rows import Row, read_row
from vicur.data.schema import Example, SkippedRow, UnusableRowError
from vicur.data.stored import StoredSplit
from vicur.data.video import UnusableVideoError, sampled_file
from vicur.data.video import reader as video_reader
from vicur.errors import VicurError
from vicur.stage.events import Events

MAX_PIXELS = 64_000_000


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good and of damaged videos. Do not write to it."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = moving("right", "red", frames=12)
    video_file(folder / "good.mp4", pictures)
    video_file(folder / "good.webm", pictures, "libvpx-vp9")
    video_file(folder / "good.mkv", pictures)
    video_file(folder / "good.avi", pictures, "mpeg4")
    video_file(folder / "good.gif", pictures, "gif", pixels="rgb8")
    video_file(folder / "one.mp4", pictures[:1])
    good = (folder / "good.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(good[: len(good) // 2])
    for name in ("webm", "mkv", "avi"):
        data = (folder / f"good.{name}").read_bytes()
        (folder / f"cut.{name}").write_bytes(data[: len(data) * 2 // 3])
    # The index comes first, so that only the frames are missing.
    indexed = video_file(folder / "indexed.mp4", pictures, movflags="faststart").read_bytes()
    (folder / "cut-frames.mp4").write_bytes(indexed[:-200])
    garbled = bytearray(good)
    start = good.find(b"mdat") + 800
    garbled[start : start + 200] = bytes(200)
    (folder / "garbled.mp4").write_bytes(bytes(garbled))
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "playlist.mp4").write_bytes(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    frame_folder(folder / "frames", pictures)
    frame_folder(folder / "uneven", pictures[:3])
    (folder / "uneven" / "frame_2.png").write_bytes(png(np.zeros((16, 48, 3), np.uint8)))
    (folder / "nothing").mkdir()
    (folder / "outside.mp4").symlink_to("/etc/passwd")
    return folder


def read(folder: Path, video: Any, **settings: Any) -> Row | SkippedRow:
    from vicur.data.formats import FORMATS, Record, SourceFolder
    from vicur.data.row_columns import Layout

    config = FolderConfig(path=folder, video=VideoConfig(**settings))
    columns = {"id": "v", "question": "Where to?", "answer": "right", "video": video}
    row = read_row(Record("rows.jsonl", 1, columns), SourceFolder(folder), Layout.of(FORMATS["jsonl"], config, 0))
    assert row is not None
    return row


def example(row: Row | SkippedRow) -> Example:
    assert isinstance(row, Row), row
    return row.example


@pytest.mark.parametrize("name", ["good.mp4", "good.webm", "good.mkv", "good.avi", "good.gif", "frames"])
def test_a_video_becomes_its_sampled_frames(clips: Path, name: str) -> None:
    found = example(read(clips, name, fps=2, frame_rate=4))
    assert found.video is not None
    assert found.video.timestamps == tuple(index / 4 for index in (0, 2, 4, 7, 9, 11))
    assert len(found.images) == 6
    for image, index in zip(found.images, (0, 2, 4, 7, 9, 11), strict=True):
        shown = np.asarray(plain_image(image)).astype(int)
        # Compression and the palette of GIF change colours a little.
        assert np.abs(shown - moving("right", "red", frames=12)[index]).mean() < (24 if name.endswith("gif") else 12)


def test_bytes_lists_of_frames_and_nested_values_are_read(clips: Path) -> None:
    path = example(read(clips, "good.mp4"))
    assert example(read(clips, {"bytes": (clips / "good.mp4").read_bytes(), "path": None})).images == path.images
    frames = [f"frames/frame_{number}.png" for number in (0, 5, 11)]
    listed = example(read(clips, {"frames": frames, "fps": 0.5}))
    assert listed.video is not None
    assert listed.video.timestamps == (0, 2, 4)
    assert listed.images == tuple((clips / frame).read_bytes() for frame in frames)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("one.mp4", "only one frame"),
        ("cut.mp4", "damaged or incomplete"),
        ("cut-frames.mp4", "truncated|damaged"),
        ("cut.webm", "truncated"),
        ("cut.mkv", "truncated"),
        ("cut.avi", "damaged|truncated"),
        ("garbled.mp4", "damaged"),
        ("empty.mp4", "not a video of a known format"),
        ("playlist.mp4", "not a video of a known format"),
        ("missing.mp4", "does not exist"),
        ("outside.mp4", "leads out of the folder"),
        ("../good.mp4", "not a path inside"),
        ("http://example.com/a.mp4", "web address"),
        ("nothing", "no frames"),
        ("uneven", "frame 2 has 48 x 16 pixels"),
        (["good.mp4", "good.mkv"], "several videos"),
        ({"frames": ["frames/frame_0.png"], "fps": "fast"}, "fps"),
        (b"\x00\x00\x00\x18ftypmp42" + bytes(500), "damaged or incomplete"),
        (7, "neither a path"),
    ],
    ids=str,
)
def test_a_video_that_cannot_be_used_is_a_skipped_row(clips: Path, name: Any, reason: str) -> None:
    row = read(clips, name)
    assert isinstance(row, SkippedRow)
    assert row.field.startswith("video")
    assert re.search(reason, row.reason), row.reason
    assert row.remedy


def test_limits_of_a_video(clips: Path) -> None:
    assert "lasts 3 seconds" in str(read(clips, "good.mp4", max_seconds=2))
    with pytest.raises(UnusableVideoError, match="at most 500 pixels"):
        sampled_file(clips / "good.mp4", VideoConfig(), 500)
    small = example(read(clips, "good.mp4", pixels=2048, min_frames=2, max_frames=4))
    assert len(small.images) == 4
    assert plain_size(small.images[0]) == (22, 22)


def test_a_decoder_that_takes_too_long_or_crashes_is_replaced(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (24, 240, 320, 3), dtype=np.uint8)
    long = video_file(tmp_path / "long.mp4", list(noise), preset="ultrafast")
    with pytest.raises(UnusableVideoError, match=r"longer to decode than 0\.02 seconds"):
        sampled_file(long, VideoConfig(decode_seconds=0.02), MAX_PIXELS)
    assert sampled_file(clips / "good.mp4", VideoConfig(), MAX_PIXELS).fps == 4
    process = video_reader._worker._process
    assert process is not None
    process.terminate()
    process.wait()
    with pytest.raises(UnusableVideoError, match="makes the decoder crash"):
        sampled_file(clips / "good.mp4", VideoConfig(), MAX_PIXELS)
    assert sampled_file(clips / "good.mp4", VideoConfig(), MAX_PIXELS).fps == 4
    video_reader._worker.close()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(VicurError, match="PyAV, which is not installed"):
        sampled_file(clips / "good.mp4", VideoConfig(), MAX_PIXELS)


def test_transparent_and_turned_frames_are_stored_as_players_show_them(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (32, 24), (0, 0, 0, 0))
    picture.paste((200, 0, 0, 255), (0, 0, 8, 8))
    other = picture.copy()
    other.paste((0, 0, 200, 255), (16, 0, 24, 8))
    picture.save(tmp_path / "a.gif", save_all=True, append_images=[other], duration=500, disposal=2)
    found = sampled_file(tmp_path / "a.gif", VideoConfig(), MAX_PIXELS)
    assert plain_image(found.frames[0]).getpixel((30, 20)) == (255, 255, 255)


def rows_of(clips: Path, folder: Path) -> Path:
    """Write a source with the videos of ``clips`` in several splits."""
    folder.mkdir()
    for name in ("good.mp4", "cut.mp4", "good.webm"):
        (folder / name).write_bytes((clips / name).read_bytes())
    frame_folder(folder / "up", moving("up", "blue"))
    rows = [
        {"id": "a", "video": "good.mp4", "question": "<video>Where to?", "answer": "right", "split": "train"},
        {"id": "b", "video": "up", "question": "Where to? <image>", "answer": "up", "split": "validation"},
        {"id": "c", "video": "good.webm", "question": "Which colour?", "answer": "red", "split": "test"},
        {"id": "d", "video": "cut.mp4", "question": "Where to?", "answer": "up", "split": "test"},
        {"id": "e", "video": "up", "question": "<video> or <video>?", "answer": "up", "split": "test"},
    ]
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_prepared_videos_survive_an_export_and_are_the_same_with_any_number_of_processes(
    clips: Path, tmp_path: Path
) -> None:
    folder = rows_of(clips, tmp_path / "source")
    hashes = []
    for processes in (1, 2):
        config = FolderConfig(path=folder, max_skipped_share=0.5, processes=processes)
        output = tmp_path / f"data{processes}"
        output.mkdir()
        summary = prepare(config, {"source": folder}, output, make_context(tmp_path / f"work{processes}"))
        hashes.append(summary.dataset_hash)
    assert hashes[0] == hashes[1]
    skipped = [json.loads(line) for line in (output / "skipped.jsonl").read_text().splitlines()]
    assert [row["id"] for row in skipped] == ["d", "e"]
    assert "marks 2 places" in skipped[1]["reason"]
    [first] = StoredSplit(output, "distill")
    assert first.video is not None
    assert first.visuals == 1

    for kind in ("jsonl", "webdataset", "hf"):
        exported = tmp_path / kind
        export(output, kind, exported, Events("export", None))
        again = tmp_path / f"again-{kind}"
        again.mkdir()
        prepare(FolderConfig(path=exported), {"source": exported}, again, make_context(tmp_path / f"work-{kind}"))
        [same] = StoredSplit(again, "distill")
        assert (same.images, same.video) == (first.images, first.video)
    with pytest.raises(VicurError, match="about a video"):
        export(output, "verl", tmp_path / "verl", Events("export", None))


def test_a_video_trimmed_by_an_edit_list_is_whole(tmp_path: Path) -> None:
    whole = video_file(tmp_path / "whole.mp4", moving("right", "red", frames=24))
    # 16 of the 24 frames, at 4 a second, are shown.
    video = sampled_file(trimmed(whole, tmp_path / "trimmed.mp4", 2), VideoConfig(), MAX_PIXELS)
    assert len(video.frames) == 8
    assert video.timestamps[-1] < 4


@pytest.mark.parametrize("name", ["video", "videos", "video_path"])
def test_conversations_and_messages_find_a_column_with_a_video(name: str) -> None:
    from vicur.data.formats import FORMATS

    llava = [{"from": "human", "value": "<video>Where?"}, {"from": "gpt", "value": "right"}]
    swift = [{"role": "user", "content": "<video>Where?"}, {"role": "assistant", "content": "right"}]
    value = ["a.mp4"] if name == "videos" else "a.mp4"
    for form, row in (("conversations", {"conversations": llava}), ("messages", {"messages": swift})):
        [columns] = FORMATS[form].reshaped({**row, name: value}, "rows.jsonl")  # type: ignore[attr-defined]
        assert columns["video"] == value
        assert name == "video" or name not in columns
    inline = [{"role": "user", "content": [{"type": "video", "video": "b.mp4"}]}, swift[1]]
    with pytest.raises(UnusableRowError, match="has a video besides others"):
        list(FORMATS["messages"].reshaped({"messages": inline, name: value}, "rows.jsonl"))  # type: ignore[attr-defined]


def test_archives_and_messages_have_videos(clips: Path, tmp_path: Path) -> None:
    from vicur.data.formats import FORMATS, Record, SourceFolder
    from vicur.data.row_columns import Layout

    data = (clips / "good.mp4").read_bytes()
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, content in (("a.mp4", data), ("a.json", b'{"question": "Where?", "answer": "right"}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    config, source = FolderConfig(path=tmp_path), SourceFolder(tmp_path)
    [unit] = FORMATS["webdataset"].units(source, config)
    [record] = FORMATS["webdataset"].records(source, unit, config)
    assert record.columns["video"] == [data]  # type: ignore[index]

    turns = [
        {"role": "user", "content": [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "Where?"}]},
        {"role": "assistant", "content": "right"},
    ]
    llava = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": "right"}]
    for name, row in (
        ("messages", {"messages": turns}),
        ("conversations", {"conversations": llava, "video": "a.mp4"}),
    ):
        [columns] = FORMATS[name].reshaped(row, "rows.jsonl")  # type: ignore[attr-defined]
        assert columns["question"].startswith("<video>")
        (tmp_path / "a.mp4").write_bytes(data)
        layout = Layout.of(FORMATS[name], config, 0)
        found = example(read_row(Record("rows.jsonl", 1, columns), source, layout))  # type: ignore[arg-type]
        assert found.video is not None
        assert len(found.images) == 6


def test_a_row_with_images_keeps_its_column_video_as_metadata_unless_it_is_named(clips: Path) -> None:
    from vicur.data.formats import FORMATS, Record, SourceFolder
    from vicur.data.row_columns import Layout

    columns = {"id": "a", "image": "frames/frame_0.png", "video": "good.mp4", "question": "q", "answer": "1"}
    for fields, is_video in (({}, False), ({"video": "video"}, True)):
        config = FolderConfig(path=clips, fields=fields)
        layout = Layout.of(FORMATS["jsonl"], config, 0)
        found = example(read_row(Record("rows.jsonl", 1, columns), SourceFolder(clips), layout))  # type: ignore[arg-type]
        assert (found.video is not None) is is_video
    assert len(found.images) == 6


def test_an_example_whose_times_do_not_fit_its_frames_is_refused() -> None:
    fields = {"id": "a", "question": "q", "answer": "1", "source": "s", "split": "test"}
    frames = (png(np.zeros((4, 4, 3), np.uint8)),) * 2
    for times in ([0.0], [1.0, 0.0], [0.0, "x"], [-1.0, 0.0]):
        with pytest.raises(ValueError, match="times"):
            Example(**fields, images=frames, metadata={"video": {"timestamps": times, "fps": 2.0}})
    # Other values below this name are the user's own.
    assert Example(**fields, images=frames, metadata={"video": "clip.mp4"}).video is None


def test_settings_of_videos_leave_other_identities_alone(tmp_path: Path) -> None:
    assert "video" not in FolderConfig(path=tmp_path).identity()
    assert FolderConfig(path=tmp_path, video=VideoConfig(fps=1)).identity()["video"]["fps"] == 1


def test_a_video_counts_as_one_image_among_duplicates(tmp_path: Path) -> None:
    """Two videos that begin alike are different; a compressed copy of a video is not."""
    folder = tmp_path / "source"
    folder.mkdir()
    same = [np.zeros((128, 128, 3), np.uint8)] * 2
    frame_folder(folder / "right", [*same, *moving("right", "red", frames=10, side=128, textured=True)])
    frame_folder(folder / "down", [*same, *moving("down", "blue", frames=10, side=128, textured=True)])
    video_file(folder / "copy.mp4", [*same, *moving("right", "red", frames=10, side=128, textured=True)])
    rows = [
        {"id": str(n), "video": video, "question": "What?", "answer": "a", "split": split}
        for n, (video, split) in enumerate(
            [("right", "test"), ("down", "train"), ("copy.mp4", "train"), ("down", "validation")]
        )
    ]
    rows[3]["question"] = "Which?"
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    output = tmp_path / "data"
    output.mkdir()
    config = FolderConfig(path=folder, max_skipped_share=1, video=VideoConfig(frame_rate=4))
    prepare(config, {"source": folder}, output, make_context(tmp_path / "work"))
    assert [each.id for each in StoredSplit(output, "distill")] == ["1"]
    [skipped] = [json.loads(line) for line in (output / "skipped.jsonl").read_text().splitlines()]
    assert skipped["id"] == "2"
    assert "nearly identical" in skipped["reason"]
