"""MMMU, validation (Yue et al., arXiv 2311.16502)."""

from __future__ import annotations

from vicur.data.schema import UnusableRowError
from vicur.evaluation.benchmarks.declaration import Benchmark, Columns, Gold, PaperFigures, Parts, options_text

_MARKER = "<image "


class Mmmu(Benchmark):
    """900 questions of thirty subjects. Images stand where the text or an option marks them; others are not shown."""

    name = "mmmu"
    title = "MMMU-val"
    harness = "MMMU_DEV_VAL"
    file = "MMMU_DEV_VAL.tsv"
    md5 = "585e8ad75e73f75dcad265dfd0417d64"
    rows = 900
    columns = ("index", "question", "answer", "split", "category")
    metric = "mean over the split validation; the 150 questions of dev in the same file are left out"
    judge = (
        "names the option that a response means, if no rule finds it; the harness guesses at random after three tries"
    )
    licence = "Apache-2.0"
    paper = PaperFigures(
        {"base": 51.11, "grpo": 52.00, "opsd": 49.56, "vicur": 49.22, "opd": 51.00, "opd-vicur": 53.30},
        {"base": 66.56, "grpo": 65.56, "opsd": 62.33, "vicur": 63.33, "opd": 64.33, "opd-vicur": 66.56},
    )

    def is_counted(self, columns: Columns) -> bool:
        return columns["split"] == "validation"

    def text(self, columns: Columns) -> str:
        hint = f"Hint: {columns['hint']}\n" if "hint" in columns else ""
        options = options_text(columns)
        request = "Please select the correct answer from the options above. \n" if options else ""
        return f"{hint}Question: {columns['question']}\n{options}{request}"

    def parts(self, columns: Columns, images: int) -> Parts:
        first, *others = self.text(columns).split(_MARKER)
        if not others:
            return super().parts(columns, images)
        parts: list[str | int] = [first]
        for segment in others:
            number = segment[:1]
            if not number.isdecimal() or segment[1:2] != ">" or not 1 <= int(number) <= images:
                raise UnusableRowError(
                    "question",
                    f"marks an image as {_MARKER + segment[:4]!r}, but the row has {images}",
                    "Use the benchmark's own file, without changes.",
                )
            parts += [int(number) - 1, segment[2:]]
        return tuple(parts)

    def gold(self, columns: Columns) -> Gold:
        if "A" in columns:
            return super().gold(columns)
        # Open questions. The harness offers their answer as A, and "Other Answers" as B.
        return Gold(columns["answer"])

    def kind(self, columns: Columns) -> str:
        return columns["category"]
