"""Video-MME without subtitles (Fu et al., arXiv 2405.21075)."""

from __future__ import annotations

import re

from vicur.evaluation.benchmarks.declaration import Benchmark, Columns, Gold, PaperFigures, Parts
from vicur.evaluation.benchmarks.literals import listed_texts

_REQUEST = """
These are the frames of a video. Select the best answer to the following multiple-choice question based on the video. Respond with only \
the letter (A, B, C, or D) of the correct option.
"""
_LETTER = re.compile(r"^[A-D][.)]\s*")

FRAMES = 64
"""Frames per video, spread evenly from the first to the last, as Qwen3-VL's video processor does."""


class VideoMme(Benchmark):
    """900 videos of 11 seconds to an hour with three questions each."""

    name = "videomme"
    title = "Video-MME"
    harness = "Video-MME"
    file = "Video-MME.tsv"
    md5 = "85bdd91f9b29a99354c23b97ab7c113c"
    rows = 2700
    columns = (
        "index",
        "video",
        "duration",
        "domain",
        "candidates",
        "sub_category",
        "task_type",
        "question",
        "answer",
    )
    metric = "mean over all questions, 64 frames, no subtitles"
    judge = "almost never: the harness takes the first capital A to D of a response"
    licence = "for research only; see its repository"
    is_video = True
    paper = PaperFigures(
        {"base": 58.2, "grpo": 58.0, "opsd": 57.9, "vicur": 57.8, "opd": 57.6, "opd-vicur": 58.6},
        {"base": 65.9, "grpo": 65.8, "opsd": 66.5, "vicur": 66.6, "opd": 66.0, "opd-vicur": 66.6},
    )

    def text(self, columns: Columns) -> str:
        options = "\n".join(listed_texts(columns["candidates"], "candidates"))
        return f"{_REQUEST}Question: {columns['question']}\n{options}\nAnswer: "

    def gold(self, columns: Columns) -> Gold:
        choices = listed_texts(columns["candidates"], "candidates")
        return Gold(columns["answer"], tuple(_LETTER.sub("", choice) or choice for choice in choices))

    def parts(self, columns: Columns, images: int) -> Parts:  # noqa: ARG002
        # Image 0 stands for the video.
        return (0, self.text(columns))

    def group(self, columns: Columns) -> str:
        return columns["video"]

    def kind(self, columns: Columns) -> str:
        return columns["duration"]
