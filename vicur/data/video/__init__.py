"""Videos of untrusted sources, as frames: sampled as Qwen3-VL's video processor does, and stored as images.

A video file is decoded by PyAV in a separate process (:mod:`vicur.data.video.worker`), whose time and memory are limited: FFmpeg's
decoders are C code, and neither a crash nor an endless file may end the import.
"""

from vicur.data.video.frames import SampledVideo, UnusableVideoError, sampled_images
from vicur.data.video.reader import sampled_file

__all__ = ["SampledVideo", "UnusableVideoError", "sampled_file", "sampled_images"]
