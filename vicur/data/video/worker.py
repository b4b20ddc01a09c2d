"""Process that decodes videos, one at a time: run as ``python -m vicur.data.video.worker``.

A request is a line of JSON (``path``, or the ``size`` of the bytes that follow; ``config``; ``max_pixels``). The reply is a line of JSON
(``reason`` and ``remedy``, or ``timestamps``, ``fps``, ``notes`` and the ``sizes`` of the frames), and then the frames.

The kernel ends the process if a video takes more CPU time than ``config.decode_seconds``. Memory is limited, and no file can be written.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from vicur.config.video import VideoConfig
from vicur.data.paths import open_regular, why
from vicur.data.video.decoding import decoded
from vicur.data.video.frames import SampledVideo, UnusableVideoError

_MEMORY = 6 << 30  # of address space, much of which FFmpeg reserves and does not use


def _opened(request: dict[str, Any], stdin: BinaryIO) -> BinaryIO:
    if request["path"] is None:
        return io.BytesIO(stdin.read(request["size"]))
    try:
        return open_regular(Path(request["path"]))
    except OSError as error:
        raise UnusableVideoError(why(error), "Correct the file or its path.") from error


def _reply(request: dict[str, Any], stdin: BinaryIO) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    try:
        with _opened(request, stdin) as source:
            video: SampledVideo = decoded(source, VideoConfig(**request["config"]), request["max_pixels"])
    except UnusableVideoError as fault:
        return {"reason": fault.reason, "remedy": fault.remedy}, ()
    sizes = [len(frame) for frame in video.frames]
    return {"timestamps": video.timestamps, "fps": video.fps, "notes": video.notes, "sizes": sizes}, video.frames


def main() -> None:
    """Decode videos until standard input ends."""
    for limit, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        # A lower limit of the machine cannot be raised; the others still apply.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (most, most))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent
    # Replies have a separate descriptor: a library that prints would spoil them.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    import av  # noqa: F401 (before the time of the first video counts)
    from PIL import Image

    Image.init()
    output.write(b"ready\n")
    output.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        # With the signal's default action, the kernel ends the process wherever it is.
        signal.setitimer(signal.ITIMER_PROF, request["config"]["decode_seconds"])
        reply, frames = _reply(request, sys.stdin.buffer)
        signal.setitimer(signal.ITIMER_PROF, 0)
        output.write(json.dumps(reply).encode() + b"\n")
        output.writelines(frames)
        output.flush()


if __name__ == "__main__":
    main()
