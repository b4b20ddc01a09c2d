"""Client of the process that decodes videos (:mod:`vicur.data.video.worker`)."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from vicur.config.video import VideoConfig
from vicur.data.video.frames import SampledVideo, UnusableVideoError
from vicur.errors import VicurError
from vicur.processes.package_path import with_package

_WALL_FACTOR = 20
_LEAST_WALL = 60.0  # seconds
MAX_BYTES = 4 << 30
"""Largest video file in bytes."""


class VideoWorker:
    """A process that decodes videos, started on first use. Thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def sampled(self, source: bytes | Path, config: VideoConfig, max_pixels: int) -> SampledVideo:
        """Return the sampled frames of a video file.

        Raises:
            UnusableVideoError: if it cannot be used.
            VicurError: if PyAV is not installed, or the process cannot be started.
        """
        is_path = isinstance(source, Path)
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > MAX_BYTES:
            raise UnusableVideoError(f"has {size:,} bytes, but at most {MAX_BYTES:,} are allowed", "Cut it into parts.")
        request = {
            "path": str(source) if is_path else None,
            "size": size,
            "config": config.model_dump(mode="json"),
            "max_pixels": max_pixels,
        }
        with self._lock:
            process = self._process if self._process is not None else self._start()
            # CPU time decides, which does not depend on how busy the machine is; this ends a process that only waits.
            late = threading.Event()

            def end() -> None:
                late.set()
                process.kill()

            timer = threading.Timer(max(_LEAST_WALL, _WALL_FACTOR * config.decode_seconds), end)
            timer.daemon = True
            timer.start()
            try:
                reply, frames = _asked(process, request, b"" if is_path else source)  # type: ignore[arg-type]
            except (OSError, EOFError, ValueError):
                raise self._ended(process, config, late=late.is_set()) from None
            except BaseException:
                # An interrupted conversation cannot be continued.
                self._stop()
                raise
            finally:
                timer.cancel()
        if "reason" in reply:
            raise UnusableVideoError(reply["reason"], reply["remedy"])
        return SampledVideo(frames, tuple(reply["timestamps"]), reply["fps"], tuple(reply["notes"]))

    def close(self) -> None:
        """Stop the process if it is running."""
        with self._lock:
            self._stop()

    def forget(self) -> None:
        """Give up the process of another one: called in a forked child."""
        self._process = None
        self._lock = threading.Lock()

    def _start(self) -> subprocess.Popen[bytes]:
        if importlib.util.find_spec("av") is None:
            raise VicurError(
                "videos are decoded by PyAV, which is not installed.",
                remedy="Run pip install 'vicur[video]' (images of steps: build them with --video), or extract the frames to folders of "
                "images.",
            )
        command = [sys.executable, "-m", "vicur.data.video.worker"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=with_package())
        self._process = process
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            self._stop()
            raise VicurError(
                "the process that decodes videos did not start.",
                where="vicur.data.video.worker",
                remedy="Run `python -c 'import av'` in this environment to find out what is missing.",
            )
        return process

    def _ended(self, process: subprocess.Popen[bytes], config: VideoConfig, *, late: bool) -> UnusableVideoError:
        self._stop()
        # A SIGKILL without the timer is the kernel's, for lack of memory.
        if late or process.returncode == -signal.SIGPROF:
            return UnusableVideoError(
                f"takes longer to decode than {config.decode_seconds:g} seconds",
                "Cut it into parts or convert it, or raise data.video.decode_seconds.",
            )
        return UnusableVideoError("makes the decoder crash", "Convert it again (ffmpeg -i old.mp4 new.mp4).")

    def _stop(self) -> None:
        if self._process is not None:
            # A process that has ended keeps its own exit status.
            if self._process.poll() is None and not _ends_by_itself(self._process):
                self._process.kill()
            self._process.communicate()
            self._process = None


def _ends_by_itself(process: subprocess.Popen[bytes]) -> bool:
    """Wait a moment for a process whose pipes are closed already, so that its exit status says why."""
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return False
    return True


def _asked(process: subprocess.Popen[bytes], request: dict[str, Any], data: bytes) -> tuple[Any, tuple[bytes, ...]]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.write(data)
    process.stdin.flush()
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    reply = json.loads(line)
    frames = tuple(_exactly(process, size) for size in reply.get("sizes", ()))
    return reply, frames


def _exactly(process: subprocess.Popen[bytes], size: int) -> bytes:
    assert process.stdout is not None
    data = process.stdout.read(size)
    if len(data) < size:
        raise EOFError
    return data


_worker = VideoWorker()
atexit.register(_worker.close)
os.register_at_fork(after_in_child=_worker.forget)


def sampled_file(source: bytes | Path, config: VideoConfig, max_pixels: int) -> SampledVideo:
    """Return the sampled frames of a video file, using this process's worker.

    Raises:
        UnusableVideoError: if it cannot be used.
        VicurError: if PyAV is not installed.
    """
    return _worker.sampled(source, config, max_pixels)
