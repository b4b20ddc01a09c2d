"""MathVista, testmini (Lu et al., arXiv 2310.02255)."""

from __future__ import annotations

from vicur.data.schema import UnusableRowError
from vicur.evaluation.benchmarks.declaration import Benchmark, Columns, Gold, PaperFigures
from vicur.evaluation.benchmarks.literals import listed_texts


class MathVista(Benchmark):
    """1,000 questions. Answers are choices, whole numbers, decimals, or lists, which the harness can never count as right."""

    name = "mathvista"
    title = "MathVista"
    harness = "MathVista_MINI"
    file = "MathVista_MINI.tsv"
    md5 = "f199b98e178e5a2a20e7048f5dcb0464"
    rows = 1000
    columns = ("index", "question", "answer", "question_type", "answer_type", "task", "skills")
    metric = "mean over all questions"
    judge = "extracts the answer from a response; the comparison is by rule"
    licence = "CC BY-SA 4.0; images under the licences of their sources"
    paper = PaperFigures(
        {"base": 61.0, "grpo": 60.8, "opsd": 61.2, "vicur": 63.4, "opd": 64.4, "opd-vicur": 63.6},
        {"base": 75.8, "grpo": 76.6, "opsd": 73.5, "vicur": 74.1, "opd": 78.1, "opd-vicur": 76.7},
    )

    def text(self, columns: Columns) -> str:
        return columns["question"]

    def gold(self, columns: Columns) -> Gold:
        if columns["question_type"] != "multi_choice":
            return Gold(columns["answer"])
        choices = listed_texts(columns.get("choices", ""), "choices")
        if not choices:
            raise UnusableRowError("choices", "is empty in a multiple-choice question", "Use the benchmark's own file.")
        return Gold(columns["answer"], choices)

    def kind(self, columns: Columns) -> str:
        return columns["task"]
