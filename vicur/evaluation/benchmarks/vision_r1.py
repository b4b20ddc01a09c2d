"""The test split of Vision-R1, which is private: a user's own split stands in for it."""

from __future__ import annotations

import json

from vicur.evaluation.benchmarks.declaration import Benchmark, Columns, Gold, PaperFigures


class VisionR1(Benchmark):
    """The split ``test`` of a prepared dataset. No harness has it, so that it is scored by rule, without a judge."""

    name = "vision-r1"
    title = "Vision-R1 test"
    harness = ""
    file = "manifest.json"
    md5 = ""
    rows = 0
    columns = ()
    metric = "mean over the split test of your dataset; the paper's 820 questions are not published"
    judge = ""
    licence = "that of your dataset"
    paper = PaperFigures(
        {"base": 23.90, "grpo": 28.17, "opsd": 25.00, "vicur": 26.58, "opd": 26.34, "opd-vicur": 26.83},
        {"base": 41.22, "grpo": 58.75, "opsd": 42.20, "vicur": 45.00, "opd": 51.09, "opd-vicur": 52.07},
    )

    def text(self, columns: Columns) -> str:
        return columns["question"]

    def gold(self, columns: Columns) -> Gold:
        return Gold(columns["answer"], tuple(json.loads(columns.get("choices", "[]"))))

    def kind(self, columns: Columns) -> str:
        return columns.get("kind", "all")
