"""MathVerse, testmini (Zhang et al., arXiv 2403.14624)."""

from __future__ import annotations

import re

from vicur.evaluation.benchmarks.declaration import Benchmark, Columns, Gold, PaperFigures

_CHOICE = re.compile(r"^([A-Z])\s*[:.]\s*(.*)$", re.MULTILINE)


class MathVerse(Benchmark):
    """788 problems in five versions, which move more and more of the problem from the text into the image."""

    name = "mathverse"
    title = "MathVerse"
    harness = "MathVerse_MINI"
    file = "MathVerse_MINI.tsv"
    md5 = "5017caca32b7fa110c350a1bea861b65"
    rows = 3940
    columns = (
        "index",
        "problem_index",
        "problem_version",
        "question",
        "question_for_eval",
        "answer",
        "question_type",
        "metadata",
    )
    metric = "mean over the five versions of all problems; the harness prints each version only"
    judge = "extracts the answer from a response, and then says whether it equals the solution"
    licence = "MIT"
    paper = PaperFigures(
        {"base": 39.09, "grpo": 44.90, "opsd": 37.56, "vicur": 40.00, "opd": 40.56, "opd-vicur": 42.31},
        {"base": 53.40, "grpo": 56.22, "opsd": 52.92, "vicur": 53.25, "opd": 60.05, "opd-vicur": 61.55},
    )

    def text(self, columns: Columns) -> str:
        return columns["question"]

    def gold(self, columns: Columns) -> Gold:
        if columns["question_type"] != "multi-choice":
            return Gold(columns["answer"])
        # The version "Vision Only" has its choices in the image: the letter alone is compared.
        found = _CHOICE.findall(columns["question_for_eval"])
        letters = "".join(letter for letter, _ in found)
        lists_all = letters and letters == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(letters)]
        return Gold(columns["answer"], tuple(text.strip() or letter for letter, text in found) if lists_all else ())

    def group(self, columns: Columns) -> str:
        return columns["problem_index"]

    def kind(self, columns: Columns) -> str:
        return columns["problem_version"]
