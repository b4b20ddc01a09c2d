"""Small videos for tests: a square that moves over a plain background."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220)}
WAYS = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


def moving(way: str, colour: str, frames: int = 8, side: int = 32, *, textured: bool = False) -> list[np.ndarray]:
    """Return the frames of a square that moves across the picture, over waves if it is ``textured``."""
    down_, across_ = np.mgrid[:side, :side]
    waves = (60 * np.sin(across_ / 9) + 50 * np.cos(down_ / 13))[..., None] - 100 if textured else np.zeros((1, 1, 1))
    across, down = WAYS[way]
    square = max(10, side // 4)
    room = side - square
    pictures = []
    for number in range(frames):
        far = number * room // max(1, frames - 1)
        x = far if across > 0 else room - far if across < 0 else room // 2
        y = far if down > 0 else room - far if down < 0 else room // 2
        picture = np.clip(np.full((side, side, 3), 235) + waves, 0, 255).astype(np.uint8)
        picture[y : y + square, x : x + square] = COLOURS[colour]
        pictures.append(picture)
    return pictures


def video_file(
    path: Path,
    pictures: list[np.ndarray],
    codec: str = "libx264",
    fps: int = 4,
    pixels: str = "yuv420p",
    **options: Any,
) -> Path:
    """Write pictures as a video with PyAV."""
    import av

    with av.open(str(path), "w", options={key: str(value) for key, value in options.items()}) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def trimmed(source: Path, path: Path, seconds: float) -> Path:
    """Copy a video without its first seconds: an edit list hides their frames, as ``ffmpeg -ss ... -c copy`` writes it."""
    import av

    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if packet.dts is None or packet.pts is None or stream.time_base is None:
                continue
            packet.pts -= int(seconds / stream.time_base)
            packet.dts -= int(seconds / stream.time_base)
            packet.stream = copy
            new.mux(packet)
    return path


def png(picture: np.ndarray) -> bytes:
    """Encode a frame as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def frame_folder(path: Path, pictures: list[np.ndarray]) -> Path:
    """Write pictures as the images of a folder."""
    path.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        (path / f"frame_{number}.png").write_bytes(png(picture))
    return path
