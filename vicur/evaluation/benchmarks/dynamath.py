"""DynaMath (Zou et al., arXiv 2411.00836)."""

from __future__ import annotations

import json
import math
import re

from vicur.answers.extract import extract_answer
from vicur.evaluation.benchmarks.declaration import Benchmark, Columns, PaperFigures

_INSTRUCTIONS = {
    "multiple choice": "Provide the corresponing choice option in the 'short answer' key, such as 'A', 'B', 'C', or 'D'.",
    "float": "Format the answer as a three-digit floating-point number and provide it in the 'short answer' key.",
}
_OTHER = "Float numbers in the answer should be formatted as three-digit floating-point numbers."
# The harness's words, with its spelling.
_GUIDE = """
## Answer Instruction Please provide an answer to the question outlined above. Your response should adhere \
to the following JSON format, which includes two keys: 'solution' and 'short answer'. The 'solution' key can contain \
detailed steps needed to solve the question, and the 'short answer' key should provide a concise response. {}

Example of expected JSON response format:

"""
_EXAMPLE = json.dumps({"solution": "[Detailed step-by-step explanation]", "short answer": "[Concise Answer]"}, indent=4)
_SHORT = re.compile(r'"short answer"\s*:\s*(?:"((?:[^"\\]|\\.)*)"|(-?[\d.]+))', re.IGNORECASE)
_TOLERANCE = 0.001


class DynaMath(Benchmark):
    """501 questions in ten variants each, with other numbers or another drawing."""

    name = "dynamath"
    title = "DynaMath"
    harness = "DynaMath"
    file = "DynaMath.tsv"
    md5 = "b8425ad9a7114571fc9366e013699494"
    rows = 5010
    columns = ("index", "qid", "varid", "question", "answer", "answer_type", "subject", "knowledge_level")
    metric = 'mean over all variants ("Average", not "Worst Case")'
    judge = "shortens an answer, if a response is not the JSON that the prompt asks for"
    licence = "Apache-2.0"
    paper = PaperFigures(
        {"base": 53.23, "grpo": 55.49, "opsd": 52.37, "vicur": 51.60, "opd": 52.87, "opd-vicur": 52.38},
        {"base": 67.13, "grpo": 67.44, "opsd": 65.99, "vicur": 67.17, "opd": 69.22, "opd-vicur": 70.70},
    )

    def text(self, columns: Columns) -> str:
        guide = _GUIDE.format(_INSTRUCTIONS.get(columns["answer_type"], _OTHER))
        return f"## Question\n {columns['question']}{guide}{_EXAMPLE}"

    def group(self, columns: Columns) -> str:
        return columns["qid"]

    def kind(self, columns: Columns) -> str:
        return columns["subject"]

    def stated(self, response: str, columns: Columns) -> str | None:  # noqa: ARG002
        found = _SHORT.findall(response)
        if not found:
            return extract_answer(response)
        text, number = found[-1]
        return (text or number).replace('\\"', '"').strip() or None

    def is_right(self, stated: str, columns: Columns) -> bool:
        if columns["answer_type"] == "float":
            try:
                difference = float(stated.split()[0].rstrip("°")) - float(columns["answer"])
            except (ValueError, IndexError):
                return super().is_right(stated, columns)
            # The benchmark's own tolerance, in place of the exact comparison of other answers.
            return math.isfinite(difference) and abs(difference) <= _TOLERANCE
        return super().is_right(stated, columns)
