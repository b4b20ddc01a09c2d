"""We-Math (Qiao et al., arXiv 2407.01284)."""

from __future__ import annotations

from collections.abc import Sequence

from vicur.evaluation.benchmarks.aggregates import Outcome, strict_credits, strict_score
from vicur.evaluation.benchmarks.declaration import Benchmark, Columns, PaperFigures, Scored, options_text


class WeMath(Benchmark):
    """525 problems that are asked as a whole and in their two or three steps: 1,740 questions."""

    name = "wemath"
    title = "WeMath"
    harness = "WeMath"
    file = "WeMath.tsv"
    md5 = "b5e969a075f01290a542411fb7766388"
    rows = 1740
    columns = ("index", "ID", "key", "question", "A", "B", "answer", "knowledge concept")
    metric = '"Score (Strict)": 1 for a problem whose steps and whole are right, 1/2 if only the steps are'
    judge = "names the option that a response means, if no rule finds it"
    licence = "CC BY-NC 4.0"
    paper = PaperFigures(
        {"base": 31.43, "grpo": 40.19, "opsd": 30.57, "vicur": 33.90, "opd": 35.71, "opd-vicur": 36.00},
        {"base": 55.33, "grpo": 67.05, "opsd": 43.62, "vicur": 46.29, "opd": 58.38, "opd-vicur": 60.57},
    )

    def text(self, columns: Columns) -> str:
        hint = f"Hint: {columns['hint']}\n" if "hint" in columns else ""
        return f"{hint}Question: {columns['question']}\n{options_text(columns)}"

    def group(self, columns: Columns) -> str:
        return f"{columns['key'].partition('_')[0]}-{columns['ID']}"

    def kind(self, columns: Columns) -> str:
        return columns["key"]

    def aggregate(self, outcomes: Sequence[Outcome]) -> float:
        return strict_score(outcomes)

    def credits(self, rows: Sequence[Scored]) -> list[tuple[str, float]]:
        # Kind and group of a row are its key and its problem.
        outcomes = [Outcome({"key": row.kind, "ID": row.group.partition("-")[2]}, row.correct) for row in rows]
        return [(f"{steps}-{problem}", each) for (steps, problem), each in strict_credits(outcomes).items()]
